"""Every branch of the consultation, driven by a model that follows a script."""

import json
import sys
import threading
import time

import numpy as np
import pytest
from bundles import oblique, series_of, study_of
from scripted import NAMES, SHAPE, Scripted, Truthful, brats, ct, cxr, cxr_expert, liver, mri, segments, vista3d

from attending.consult import (
    Attending,
    Case,
    Done,
    ExpertFinished,
    ExpertProgress,
    ExpertStarted,
    Options,
    TextDelta,
    codec_for,
)
from attending.errors import InputError, NotAvailableError
from attending.experts import ExpertCard, ExpertError, read_card, run_expert, step
from attending.imaging import Patient

ASK = "<VISTA3D(hepatic tumor)>"


def everyone():
    return [vista3d(), brats(), cxr_expert()]


def consulted(model, study, question="Is there a liver tumor?", experts=None, **options):
    return Attending(model, everyone() if experts is None else experts, Options(**options)).ask(study, question)


def test_an_answer_without_an_expert():
    answer = consulted(Scripted("A CT of the abdomen."), ct(), "What is this?")
    assert (answer.text, answer.status, answer.findings) == ("A CT of the abdomen.", "answered", ())
    assert [turn.role for turn in answer.transcript.turns] == ["user", "assistant"]


def test_one_expert_then_an_answer():
    answer = consulted(Scripted(f"Let me trigger {ASK}.", "Yes, there is one."), ct())
    assert [turn.role for turn in answer.transcript.turns] == ["user", "assistant", "expert", "assistant"]
    (finding,) = answer.findings
    assert (finding.status, finding.record.expert) == ("done", "VISTA3D")
    assert finding.record.arguments == {"structures": "hepatic tumor"}
    assert answer.text == "Yes, there is one."
    assert answer.timings["total"] >= answer.timings["experts"] > 0
    assert answer.tokens["new"] == len(f"Let me trigger {ASK}.") + len("Yes, there is one.")
    assert answer.versions["attending"]


def test_two_experts_in_one_answer_are_told_together():
    study = ct()
    study.series += cxr().series
    model = Scripted(f"{ASK} and <CXR()>", "Both.")
    answer = consulted(model, study)
    assert [finding.record.expert for finding in answer.findings] == ["VISTA3D", "CXR"]
    assert [message["role"] for message in model.asked[1][0]] == ["user", "assistant", "user"]
    assert "blue: hepatic tumor. The resulting predictions are:\n" in model.last
    assert model.last.count("Use this result") == 1


def test_calls_that_do_not_depend_on_each_other_run_at_the_same_time():
    meet = threading.Barrier(2)

    def find(card, study):
        meet.wait(30)  # passes only when both are running
        return segments()(card, study)

    cards = [vista3d().card, ExpertCard("OTHER", ("CT",), (), "segmentation", "o", "a")]
    answer = consulted(Scripted(f"{ASK} <OTHER()>", "Yes."), ct(), experts=[Truthful(card, find) for card in cards])
    assert [finding.status for finding in answer.findings] == ["done", "done"]


def test_an_expert_that_is_asked_again_for_the_same_runs_once():
    expert = vista3d()
    answer = consulted(Scripted(f"{ASK} {ASK}", f"Again {ASK}", "Yes."), ct(), experts=[expert])
    assert len(expert.ran) == 1
    assert len(answer.findings) == 1
    assert [turn.role for turn in answer.transcript.turns].count("expert") == 2


def test_a_model_that_loops_is_stopped_when_its_rounds_are_spent():
    expert = vista3d()
    model = Scripted(f"Let me see {ASK}")
    answer = consulted(model, ct(), experts=[expert], rounds=2)
    assert (answer.status, len(model.asked), len(expert.ran)) == ("rounds", 3, 1)
    assert answer.text == "Let me see VISTA3D(hepatic tumor)"
    assert any("2 rounds were spent" in text for text in answer.warnings)


def test_no_rounds_asks_no_expert_and_offers_none():
    model = Scripted(ASK)
    answer = consulted(model, ct(), rounds=0)
    assert "list of available expert" not in model.last
    assert answer.findings == ()


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("<NOBODY(x)>", "there is no expert of this name; there are: BRATS, VISTA3D, VISTA2D, CXR"),
        ("<VISTA2D()>", "is not available here"),
        ("<VISTA3D(hepatic tumor", "the call is not closed"),
        ("<VISTA3D(the liver of the neighbour)>", "VISTA3D takes as structures: everything"),
        ("<VISTA3D(../../etc/passwd)>", "VISTA3D takes as structures"),
        ("<VISTA3D(http://169.254.169.254/latest)>", "VISTA3D takes as structures"),
        ("<CXR()>", "CXR examines DX or CR; the study holds: CT"),
        ("<BRATS()>", "BRATS examines MR; the study holds: CT"),
    ],
)
def test_a_call_that_cannot_be_carried_out_is_refused_and_the_model_is_told(reply, says):
    model = Scripted(reply, "I could not examine this.")
    answer = consulted(model, ct())
    (finding,) = answer.findings
    assert finding.status == "refused"
    assert says in finding.text
    assert "gave no result" in model.last
    assert "Without a result, say that this could not be examined" in model.last
    assert "Use this result" not in model.last
    assert answer.flags == []


def test_three_of_four_sequences_are_refused_with_the_one_that_is_missing():
    model = Scripted("<BRATS()>", "It could not be examined.")
    answer = consulted(model, mri(missing=("t1",)))
    assert answer.findings[0].status == "refused"
    assert "missing: t1" in model.last
    assert model.asked[0][0][0]["content"].count("<image>") == 1


def _broken(card, study):
    raise ValueError("a stack of secrets")


def _gives_up(card, study):
    raise ExpertError("the images are too noisy")


def _half_way(card, study):
    step(1, 2)
    raise MemoryError


@pytest.mark.parametrize(
    ("find", "says"),
    [
        (_broken, "it broke (ValueError)"),
        (_gives_up, "the images are too noisy"),
        (_half_way, "not enough memory"),
        (lambda card, study: None, "returned no finding"),
        (segments(lambda affine: np.zeros((2, 2, 2), np.uint8)), "not on the grid"),
    ],
)
def test_an_expert_that_fails_is_told_as_such_and_its_result_is_claimed_by_nobody(find, says):
    model = Scripted(ASK, "Yes, VISTA3D found a liver tumor of 30 mm.")
    answer = consulted(model, ct(), experts=[Truthful(vista3d().card, find)])
    (finding,) = answer.findings
    assert finding.status == "failed"
    assert says in finding.text
    assert "The expert VISTA3D gave no result" in model.last
    assert "secrets" not in model.last
    assert {flag.kind for flag in answer.flags} == {"presence", "size", "result"}
    assert all(flag.verdict == "unsupported" for flag in answer.flags)


def test_an_expert_that_is_killed_half_way_is_told_as_failed_and_the_other_one_counts(tmp_path):
    """A real program, in a process of its own, that dies after writing half a mask."""
    program = tmp_path / "dies.py"
    program.write_text(
        "import os, signal, sys\nopen(sys.argv[1], 'wb').write(b'half a mask')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "dies.yaml").write_text(
        "kind: command\nname: DIES\nmodality: CT\noverview: dies\nlabels: {1: hepatic tumor}\n"
        f'command: ["{sys.executable}", "{program}", "{{output}}"]\n'
    )
    model = Scripted(f"<DIES()> {ASK}", "Yes, DIES found a liver tumor.")
    answer = consulted(model, ct(), experts=[read_card(tmp_path / "dies.yaml"), vista3d()])
    assert [finding.status for finding in answer.findings] == ["failed", "done"]
    assert "The expert DIES gave no result: " in model.last
    (flag,) = answer.flags
    assert (flag.kind, flag.subject, flag.verdict) == ("result", "DIES", "unsupported")


def test_segmented_is_not_believed_when_the_expert_failed():
    model = Scripted(f"I segmented it using {ASK}.", "It could not be examined.")
    answer = consulted(model, ct(), experts=[Truthful(vista3d().card, _broken)])
    assert answer.text == "It could not be examined."
    assert answer.flags == []


def test_one_of_two_experts_fails():
    study = ct()
    study.series += cxr().series
    model = Scripted(f"{ASK} and <CXR()>", "Done.")
    answer = consulted(model, study, experts=[Truthful(vista3d().card, _broken), cxr_expert()])
    assert [finding.status for finding in answer.findings] == ["failed", "done"]
    assert "VISTA3D gave no result: it broke (ValueError). The resulting predictions" in model.last
    assert "Use this result" in model.last


def test_the_time_is_shared_and_when_it_is_spent_the_answer_says_so():
    hold = threading.Event()

    def slow(card, study):
        while not hold.wait(0.005):
            step(0, 1)

    answer = consulted(Scripted(ASK, "Never said."), ct(), experts=[Truthful(vista3d().card, slow)], seconds=0.3)
    hold.set()
    assert answer.status == "seconds"
    assert answer.findings[0].status == "failed"
    assert any("0.3 seconds were spent" in text for text in answer.warnings)
    assert answer.text == "VISTA3D(hepatic tumor)"


def test_text_that_was_cut_says_so():
    answer = consulted(Scripted("A very long", finish="length"), ct())
    assert answer.status == "length"
    assert any("cut" in text for text in answer.warnings)


def test_a_model_that_says_nothing_is_told_of():
    answer = consulted(Scripted(""), ct())
    assert answer.text == ""
    assert "The model gave no text." in answer.warnings


def test_events_come_in_order_with_progress_and_end_with_the_answer():
    def working(card, study):
        for done in range(3):
            step(done, 3)
        return segments()(card, study)

    attending = Attending(Scripted(f"Let me {ASK}", "Yes."), [Truthful(vista3d().card, working)])
    events = list(attending.stream(ct(), "Is there a liver tumor?"))
    kinds = [type(event) for event in events]
    first = kinds.index(ExpertStarted)
    assert set(kinds[:first]) == {TextDelta}
    assert kinds[first : first + 5] == [ExpertStarted, *[ExpertProgress] * 3, ExpertFinished]
    assert set(kinds[first + 5 : -1]) == {TextDelta}
    assert kinds[-1] is Done
    assert "".join(event.text for event in events[:first]) == f"Let me {ASK}"
    assert [(event.done, event.total) for event in events if isinstance(event, ExpertProgress)] == [
        (0, 3),
        (1, 3),
        (2, 3),
    ]


def test_whoever_stops_listening_stops_the_experts():
    stopped = threading.Event()

    def endless(card, study):
        try:
            while True:
                step(0, 1)
                time.sleep(0.001)
        except ExpertError:
            stopped.set()
            raise

    events = Attending(Scripted(ASK), [Truthful(vista3d().card, endless)]).stream(ct(), "Is there a liver tumor?")
    for event in events:
        if isinstance(event, ExpertProgress):
            break
    events.close()
    assert stopped.wait(30)


def test_a_consultation_can_be_cancelled_and_the_chat_goes_on():
    now = {"stop": False}
    talk = Attending(Scripted("A long text that is cut.", "Second."), []).chat(ct())
    events = talk.stream("First?", cancelled=lambda: now["stop"])
    assert next(events).text == "A long "
    now["stop"] = True
    answer = list(events)[-1].answer
    assert (answer.status, answer.text) == ("cancelled", "A long")
    assert talk.ask("And now?").text == "Second."


def test_a_later_question_knows_the_earlier_ones_and_can_call_an_expert():
    model = Scripted("A CT.", ASK, "Yes.")
    talk = Attending(model, everyone()).chat(ct())
    talk.ask("What is it?")
    answer = talk.ask("Any liver tumor?")
    assert [message["role"] for message in model.asked[-1][0]] == ["user", "assistant", "user", "assistant", "user"]
    assert model.asked[-1][0][2]["content"] == "Any liver tumor?"
    assert len(answer.findings) == 1
    assert [turn["role"] for turn in answer.transcript.to_dict()].count("user") == 2


def test_many_questions_together_are_answered_as_one_by_one():
    class Echo(Scripted):
        """Answers by what it is asked, so that the order of questions does not matter."""

        def stream(self, messages, pictures=(), sampling=None, **how):
            text = messages[-1]["content"]
            self.replies = [ASK if "tumor?" in text and "Use this" not in text else f"Heard: {text[-9:]}"]
            return super().stream(messages, pictures)

    def attending():
        return Attending(Echo("x"), [vista3d()])

    cases = [
        Case("Any tumor?", ct()),
        Case("Hello", None),
        Case("", ct()),
        Case("Which part?", ct()),
        Case("A tumor?", ct()),
    ]
    together = list(attending().ask_many(iter(cases), batch=3))
    assert isinstance(together[2], InputError)
    for case, answer in zip(cases, together, strict=True):
        if case.question:
            alone = attending().ask(case.study, case.question)
            assert (answer.text, answer.status) == (alone.text, alone.status)
            assert [f.text for f in answer.findings] == [f.text for f in alone.findings]


def test_every_expert_call_goes_through_the_hook():
    seen = []

    def run(expert, study, arguments=None, **how):
        seen.append((expert.card.name, dict(arguments)))
        return run_expert(expert, study, arguments, **how)

    Attending(Scripted(ASK, "Yes."), [vista3d()], run=run).ask(ct(), "Is there a liver tumor?")
    assert seen == [("VISTA3D", {"structures": "hepatic tumor"})]


def test_pictures_can_be_given_instead_of_the_studys():
    from attending.imaging import slice_picture

    blank = slice_picture(ct().series[0].volume, "axial", index=0)
    model = Scripted("A CT.")
    Attending(model, everyone()).ask(ct(), "What is it?", pictures=[blank])
    assert model.asked[0][1] == [blank]
    assert "<image>This is a CT image." in model.last
    Attending(model, everyone()).ask(None, "What is it?", pictures=[blank, blank])
    assert model.last == "<image><image>What is it?"


def test_the_router_asks_the_experts_that_fit_and_the_model_answers_from_them():
    expert, other = vista3d(), cxr_expert()
    model = Scripted("Yes.")
    answer = consulted(model, ct(), "Is there a liver lesion?", experts=[expert, other], route=True)
    assert expert.ran == [{"structures": "hepatic tumor"}]
    assert other.ran == []
    assert len(model.asked) == 1
    assert model.last == (
        "<image>This is a CT image.\nThe results are <image>. The colors in this image describe red: liver, blue: "
        "hepatic tumor. Use this result to respond to this prompt:\nIs there a liver lesion?"
    )
    assert answer.transcript.to_dict()[1]["call"]["by"] == "router"


def test_a_model_whose_config_says_that_it_cannot_call_is_routed():
    class Local(Scripted):
        class model:  # noqa: N801
            class config:  # noqa: N801
                model_type, expert_codec = "vila_m3", "none"

    assert Attending(Local("Yes."), everyone()).routes
    Local.model.config.expert_codec = "nonsense"
    with pytest.raises(InputError, match="expert_codec is nonsense: expected one of vila-m3, tools, short, none"):
        codec_for(Local("x"))


def test_experts_that_are_named_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTENDING_BUNDLES", str(tmp_path))
    with pytest.raises(InputError, match="expected one of VISTA3D"):
        Attending(Scripted("x"), ["NOBODY"])
    with pytest.raises(NotAvailableError, match="VISTA3D"):
        Attending(Scripted("x"), ["VISTA3D"])
    free = Attending(Scripted("Hi."))
    assert "VISTA3D" not in [expert.card.name for expert in free.experts]
    assert any("VISTA3D is not available here" in text for text in free.ask(ct(), "What?").warnings)


def test_several_patients_have_no_answer():
    study = ct(patient=Patient("1", "A"))
    study.series += ct(patient=Patient("2", "B"), name="other").series
    with pytest.raises(InputError, match="holds 2 patients"):
        consulted(Scripted("x"), study)


def test_an_empty_question_is_refused():
    with pytest.raises(InputError, match="question"):
        consulted(Scripted("x"), ct(), " \n ")


def test_a_series_can_be_named():
    study = ct()
    study.series += ct(name="second").series
    study.series[1].description = "thin"
    model = Scripted("x")
    Attending(model, []).ask(study, "What is it?", series="thin")
    assert model.asked[0][1][0].series == "second"
    with pytest.raises(InputError, match="is no series here"):
        Attending(model, []).ask(study, "What is it?", series="third")


def test_a_volume_that_is_neither_ct_nor_mr_is_shown_by_its_own_window():
    values = np.random.default_rng(0).integers(0, 9000, SHAPE).astype(np.int16)
    model = Scripted("<SEG()>", "Yes.")
    card = ExpertCard("SEG", ("PT",), (), "segmentation", "o", "a")
    expert = Truthful(card, segments())
    answer = consulted(model, study_of(series_of(values, oblique(), modality="PT", name="pet")), experts=[expert])
    assert answer.findings[0].status == "done"
    assert model.asked[0][0][0]["content"].endswith("<image>Is there a liver tumor?")
    assert "The results are <image>. " in model.last


def test_two_series_that_claim_one_sequence_are_shown_as_one_series():
    study = mri()
    study.series[0].sequence = "t1"
    model = Scripted("An MRI.")
    consulted(model, study)
    assert model.last.count("<image>") == 1


def test_an_answer_is_plain_json():
    answer = consulted(Scripted(ASK, "Yes, 10 mm."), ct())
    told = json.loads(json.dumps(answer.to_dict()))
    assert {"answer", "findings", "model", "timings", "files"} <= told.keys()
    assert told["findings"][0]["expert"] == "VISTA3D"
    assert told["notice"].startswith("For research use only")
    with pytest.raises(NotAvailableError, match="reporting"):
        answer.save("anywhere")


def test_the_same_question_has_the_same_answer():
    def run():
        told = consulted(Scripted(ASK, "Yes, 10 mm."), ct()).to_dict()
        del told["timings"]
        told["findings"][0]["record"].pop("seconds")
        return told

    assert run() == run()


def test_labels_are_as_drawn():
    finding = consulted(Scripted(ASK, "Yes."), ct()).findings[0]
    assert np.array_equal(finding.segmentation.labels.array, liver(oblique()))
    assert dict(finding.segmentation.names) == NAMES
