"""The consultation with a real model: tiny, with random weights, through the same code as a published one."""

import pytest
from scripted import ct, cxr, cxr_expert, liver, mri, vista3d
from vila_checkpoints import write_published

import attending
from attending.consult import Attending, Case, Done, ExpertStarted, Options, Published
from attending.errors import InputError
from attending.model import LocalModel, Sampling, import_checkpoint

SHORT = Options(sampling=Sampling(max_new_tokens=12))
CASES = [
    Case("Is there a liver tumor?", ct()),
    Case("What do the four show?", mri()),
    Case("Any effusion?", cxr()),
    Case("Hello", None),
    Case("How large?", ct(name="other")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    published = write_published(tmp_path_factory.mktemp("published"))
    return import_checkpoint(published, tmp_path_factory.mktemp("imported") / "tiny")


@pytest.fixture(scope="module")
def local(folder):
    return LocalModel.load(folder)


def test_a_published_checkpoint_gets_its_own_codec(local):
    assert isinstance(Attending(local, []).codec, Published)


def test_many_questions_together_have_the_texts_of_one_by_one(local):
    together = list(Attending(local, [vista3d(), cxr_expert()], SHORT).ask_many(CASES, batch=3))
    for case, answer in zip(CASES, together, strict=True):
        alone = Attending(local, [vista3d(), cxr_expert()], SHORT).ask(case.study, case.question)
        assert answer.text == alone.text
        assert answer.text


def test_a_question_too_long_for_the_model_fails_alone(local):
    cases = [CASES[0], Case("why " * 5000, ct()), CASES[2]]
    found = list(Attending(local, [], SHORT).ask_many(cases))
    assert isinstance(found[1], InputError)
    assert "the context is" in str(found[1])
    assert found[0].text
    assert found[2].text


def test_the_second_turn_computes_only_what_is_new(local):
    """Routed, so that a model with random weights need not call: what came before is reused in the next question."""
    talk = Attending(local, [vista3d()], Options(route=True, sampling=Sampling(max_new_tokens=4))).chat(ct())
    first = talk.ask("Is there a liver tumor?")
    second = talk.ask("How large is it?")
    assert first.tokens["reused"] == 0
    assert second.tokens["reused"] >= first.tokens["prompt"]
    assert second.tokens["prompt"] - second.tokens["reused"] < 700


def test_the_public_surface_answers_and_saves(folder, tmp_path):
    doctor = attending.load(str(folder), experts=[], max_new_tokens=8)
    answer = doctor.ask(ct(), "What is it?")
    assert isinstance(answer, attending.Answer)
    files = answer.save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html") in files
    *_, last = doctor.stream(ct(), "What is it?")
    assert isinstance(last, Done)
    assert last.answer.text == answer.text


def test_the_same_seed_gives_the_same_words_and_another_seed_others(folder):
    def said(seed):
        return (
            attending.load(str(folder), experts=[], seed=seed, temperature=2.0, max_new_tokens=12)
            .ask(ct(), "What?")
            .text
        )

    assert said(1) == said(1) != said(2)


def test_a_routed_expert_starts_before_the_model_speaks(local):
    events = list(
        Attending(local, [vista3d(liver)], Options(route=True, sampling=Sampling(max_new_tokens=4))).stream(
            ct(), "Is it?"
        )
    )
    assert isinstance(events[0], ExpertStarted)
