"""The nano task: held-out patients and wordings, judged by the truth; what its benchmark counts."""

from pathlib import Path

import pytest

from attending.errors import InputError
from attending.evaluation.nano_benchmark import nano_dataset
from attending.evaluation.parse import parse
from attending.evaluation.scoring import same_findings
from attending.evaluation.sources import samples_of
from attending.evaluation.task import Task, find_task
from attending.imaging import open_study
from attending.phantom import split_of


def small(**options: object) -> Task:
    task = find_task("nano")
    chosen = {"studies": ["cxr"], "cases": 1, "styles": ["C"], "questions": 8} | options
    return Task(**{**vars(task), "options": chosen} if hasattr(task, "__dict__") else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nano")


@pytest.fixture(scope="module")
def made(folder: Path):
    return nano_dataset(small(), folder)


def test_questions_in_known_and_reserved_wordings_about_test_patients(made) -> None:
    wordings = [one.facts["wording"] for one in made.conversations]
    assert wordings.count("known") == wordings.count("reserved") == len(wordings) / 2 > 4
    for one in made.conversations:
        seed = int(one.facts["study folders"].split("/")[-2].rpartition("-")[2])
        assert split_of(seed) == "test"
        assert one.facts["type"] != "missing"  # what is on offer is for the one who asks to say


def test_half_of_the_questions_need_no_expert(made) -> None:
    free = [one for one in made.conversations if not one.facts["calls"]]
    assert 0.3 < len(free) / len(made.conversations) < 0.7


def test_every_question_belongs_to_a_part_and_opens_its_study(made) -> None:
    samples = samples_of(small(), made)
    assert len(samples) == len(made.conversations)
    study = open_study(samples[0].study[0])
    assert study.series[0].modality == "DX"


def test_first_passes_over_patients(folder: Path, made) -> None:
    two, later = (
        nano_dataset(small(cases=2), folder / "two"),
        nano_dataset(small(first=1), folder / "later"),
    )
    patients = list(dict.fromkeys(one.patient for one in two.conversations))
    assert len(patients) == 2
    assert {one.patient for one in made.conversations} == {patients[0]}
    assert {one.patient for one in later.conversations} == {patients[1]}


def test_it_is_made_once(folder: Path, made) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = nano_dataset(small(), folder)
    assert [one.id for one in again.conversations] == [one.id for one in made.conversations]
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_wrong_option_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="nano takes studies, first, cases, styles, questions"):
        nano_dataset(small(case=3), folder)


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        ("liver lesion: no; effusion: yes", "liver lesion: no; effusion: yes.", 1),
        ("liver lesion: no; effusion: yes", "TORSO found no liver lesion. CHEST gives effusion 97%, so yes.", 1),
        ("liver lesion: no; effusion: yes", "There is no liver lesion, but an effusion is present.", 1),
        ("liver lesion: no; effusion: yes", "TORSO found no liver lesion. CHEST gives effusion 97%, so no.", 0),
        ("liver lesion: no; effusion: yes", "TORSO found no liver lesion.", 0),
        ("liver lesion: no; effusion: yes", "An effusion. No effusion. No liver lesion.", 0),
        (
            "kidney lesion: yes; lung nodule: no",
            "TORSO found kidney lesion: 2 mL, 22 mm. TORSO found no lung nodule.",
            1,
        ),
        (
            "kidney lesion: yes; lung nodule: no",
            "TORSO found lung nodule: 2 mL, 22 mm. TORSO found no kidney lesion.",
            0,
        ),
        ("lung nodule: no; nodule: yes", "TORSO found no lung nodule. CHEST gives nodule 93%, so yes.", 1),
        ("lung nodule: no; nodule: yes", "I cannot say.", 0),
        ("lung nodule: no; nodule: yes", "", 0),
    ],
)
def test_findings_are_compared_in_whatever_words_they_are_told(truth: str, answer: str, score: int) -> None:
    assert same_findings(parse("text", answer), truth) == score
