"""The note on an unlike study: before every answer, however it is asked for, and never in the model's ears."""

import json
import re

import numpy as np
import pytest
from chat_server import chat_server
from scripted import Scripted, ct, cxr, vista3d

from attending.consult import Attending, Case, Domain, Done, TextDelta
from attending.consult.domain import Fit
from attending.imaging import Picture
from attending.reporting import tell, write

DOMAIN = Domain.load()
NOTE = (
    r"This study is unlike the synthetic ones this model learned from \(score \d+\.\d, limit \d+\.\d\); "
    r"what follows may well be wrong\."
)
SAID = "There is a liver lesion. It measures 99 mm."
CALL = "<VISTA3D(hepatic tumor)>"
QUESTION = "Is there a liver lesion?"
ALIKE = Domain({name: fit._replace(limit=1e9) for name, fit in DOMAIN.fits.items()})


def doctor(*replies, domain=DOMAIN, **more):
    return Attending(Scripted(*(replies or (CALL, SAID))), [vista3d()], domain=domain, **more)


def heard(attending):
    """All that the model was ever told."""
    return json.dumps([messages for messages, _ in attending.backend.asked])


def test_an_answer_about_an_unlike_study_begins_with_the_note_once():
    asked = doctor()
    answer = asked.ask(ct(), QUESTION)
    assert re.fullmatch(f"{NOTE}\n\n{re.escape(SAID)}", answer.text)
    assert answer.said == SAID
    assert answer.domain.unlike
    assert answer.text == answer.domain.note + SAID


@pytest.mark.parametrize("domain", [None, ALIKE])
def test_an_answer_about_another_study_is_the_models_text(domain):
    answer = doctor(domain=domain).ask(ct(), QUESTION)
    assert answer.text == answer.said == SAID
    assert (answer.domain is None) == (domain is None)


def test_the_note_is_in_no_turn_no_check_and_no_message():
    noted, plain = doctor(), doctor(domain=None)
    answer, other = noted.ask(ct(), QUESTION), plain.ask(ct(), QUESTION)
    assert [check.to_dict() for check in answer.checks] == [check.to_dict() for check in other.checks]
    assert answer.checks
    assert answer.transcript.to_dict() == other.transcript.to_dict()
    assert "unlike" not in heard(noted)
    assert heard(noted) == heard(plain)


def test_a_stream_tells_the_note_first_and_the_answer_has_it():
    events = list(doctor().stream(ct(), QUESTION))
    assert isinstance(events[0], TextDelta)
    assert re.fullmatch(f"{NOTE}\n\n", events[0].text)
    assert sum(isinstance(event, TextDelta) and "unlike" in event.text for event in events) == 1
    assert isinstance(events[-1], Done)
    assert events[-1].answer.text.startswith(events[0].text)
    direct = list(doctor(SAID).stream(ct(), QUESTION))
    assert "".join(event.text for event in direct if isinstance(event, TextDelta)) == direct[-1].answer.text


def test_a_stream_about_a_study_that_is_alike_has_no_note():
    events = list(doctor(domain=ALIKE).stream(ct(), QUESTION))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == CALL + SAID


def test_many_questions_have_the_note_each_where_it_belongs():
    one = ct()
    asked = doctor(SAID)
    asked.domain = Domain(DOMAIN.fits | {"CXR": DOMAIN.fits["CXR"]._replace(limit=1e9)})
    answers = list(asked.ask_many([Case(QUESTION, one), Case(QUESTION, cxr()), Case(QUESTION), Case("And now?", one)]))
    assert [bool(answer.domain and answer.domain.unlike) for answer in answers] == [True, False, False, True]
    assert [answer.text.count("unlike") for answer in answers] == [1, 0, 0, 1]
    assert all(answer.said == SAID for answer in answers)


def test_a_conversation_has_the_note_in_every_answer_and_the_model_hears_none():
    asked = doctor(SAID)
    chat = asked.chat(ct())
    texts = [chat.ask(question).text for question in (QUESTION, "How large is it?", "Where?")]
    assert all(re.match(NOTE, text) and text.count("unlike") == 1 for text in texts)
    assert len(set(texts)) == 1
    assert "unlike" not in heard(asked)


def test_the_note_follows_the_pictures_shown_last():
    study = ct()
    study.series.append(cxr().series[0])
    asked = doctor(SAID, domain=Domain(DOMAIN.fits | {"CXR": Fit(*DOMAIN.fits["CXR"][:2], 1e9)}))
    chat = asked.chat(study)
    told = [chat.ask(QUESTION, series=series).domain for series in ("ct", None, "cxr", None, "ct")]
    assert [one.modality for one in told] == ["CT", "CT", "CXR", "CXR", "CT"]
    assert [one.unlike for one in told] == [True, True, False, False, True]


def test_an_exchange_that_a_client_kept_is_taken_up_without_its_note():
    asked = doctor(SAID)
    first = asked.ask(ct(), QUESTION)
    chat = asked.chat(ct())
    chat.recall(QUESTION, first.text)
    assert chat.transcript.turns[-1].text == SAID
    assert "unlike" not in heard(asked)


def test_pictures_without_a_study_are_of_no_known_modality():
    shown = [Picture(np.zeros((20, 20, 3), np.uint8))]
    answer = doctor(SAID).ask(None, QUESTION, pictures=shown)
    assert answer.text.startswith("This model learned from synthetic CT, chest radiographs and brain MRI only")
    assert answer.text.endswith(f"what follows may well be wrong.\n\n{SAID}")
    assert doctor(SAID).ask(None, QUESTION).text == SAID


def test_a_model_that_says_nothing_leaves_the_note_and_the_warning():
    answer = doctor("").ask(ct(), QUESTION)
    assert re.fullmatch(NOTE, answer.text.strip())
    assert answer.said == ""
    assert "The model gave no text." in answer.warnings


def test_machines_read_score_limit_and_verdict():
    told = doctor().ask(ct(), QUESTION).to_dict()
    assert told["domain"]["unlike"] is True
    assert told["domain"]["modality"] == "CT"
    assert told["domain"]["score"] > told["domain"]["limit"] > 1
    assert told["answer"].startswith("This study is unlike")
    assert doctor(domain=None).ask(ct(), QUESTION).to_dict()["domain"] is None
    json.dumps(told, allow_nan=False)


def test_a_terminal_is_told_first():
    assert re.match(f"{NOTE}\n\n{re.escape(SAID)}", tell(doctor().ask(ct(), QUESTION)))


def test_the_report_says_it_above_the_question_and_only_there(tmp_path):
    write(doctor().ask(ct(), QUESTION), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("unlike the synthetic ones") == 1
    assert page.index("unlike the synthetic ones") < page.index('id="question"')
    assert "Domain check" in page
    assert json.loads((tmp_path / "answer.json").read_text())["domain"]["unlike"] is True
    assert "unlike" not in (tmp_path / "transcript.json").read_text()


def test_flagged_sentences_are_marked_as_without_the_note(tmp_path):
    pages = []
    for name, domain in (("noted", DOMAIN), ("plain", None)):
        write(doctor(domain=domain).ask(ct(), QUESTION), tmp_path / name)
        pages.append((tmp_path / name / "report.html").read_text())
    marked = [re.findall(r"<mark>(.*?)</mark>", page) for page in pages]
    assert marked[0] == marked[1] == ["It measures 99 mm."]


def test_a_report_about_a_study_that_is_alike_has_the_score_and_no_box(tmp_path):
    write(doctor(domain=ALIKE).ask(ct(), QUESTION), tmp_path / "alike")
    page = (tmp_path / "alike" / "report.html").read_text()
    assert "Unlike" not in page
    assert "Domain check" in page
    write(doctor(domain=None).ask(ct(), QUESTION), tmp_path / "none")
    assert "Domain check" not in (tmp_path / "none" / "report.html").read_text()


def test_other_models_from_a_server_say_nothing(capsys, tmp_path):
    from attending.assembly import load

    with chat_server(SAID) as server:
        answer = load(server.url, experts=[]).ask(ct(), QUESTION)
    assert answer.text == SAID
    assert answer.domain is None
