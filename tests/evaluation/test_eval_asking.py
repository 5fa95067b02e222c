"""Asking: what the model is shown of a sample under each condition, and what is kept of its answer."""

import numpy as np
import pytest
from PIL import Image

from attending.errors import InputError
from attending.evaluation.asking import Asker, Condition, Lender, record
from attending.evaluation.sources import Sample
from attending.experts import run_expert
from attending.imaging import Picture


def asker(tmp_path, reference=False, modality="CXR", experts=()) -> Asker:
    """Three samples about pictures of grey 10, 20 and 30."""
    samples = []
    for n in range(3):
        path = tmp_path / f"{n}.png"
        Image.fromarray(np.full((12, 16), 10 * (n + 1), np.uint8)).save(path)
        samples.append(
            Sample(f"s{n}", "all", "Is it?", f"ask {n}", "yes", f"p{n}", (path,), modality=modality,
                   expert_prompt=f"told {n} {{findings}}" if reference else "")
        )  # fmt: skip
    return Asker(samples, Lender(run_expert), experts, 1, reference)


def grey(case) -> list[float]:
    return [float(picture.pixels.mean()) for picture in case.pictures]


def test_each_condition_shows_what_it_says(tmp_path):
    ask = asker(tmp_path)
    assert grey(ask.case(0, "main", -1)) == [10]
    assert grey(ask.case(0, "shuffled", 2)) == [30]
    assert grey(ask.case(0, "no_experts", -1)) == [10]
    blank = ask.case(0, "blank", -1)
    assert blank.pictures[0].pixels.shape == (12, 16, 3)
    assert np.ptp(blank.pictures[0].pixels) == 0
    assert ask.case(0, "text_only", -1).pictures is None
    prompts = {ask.case(0, name, 2).question for name in ("main", "shuffled", "blank", "text_only", "no_experts")}
    assert prompts == {"ask 0"}


def test_the_modality_is_told_in_our_protocol_and_not_in_the_published_one(tmp_path):
    assert asker(tmp_path).case(0, "main", -1).study.series[0].modality == "DX"
    assert asker(tmp_path, reference=True).case(0, "main", -1).study is None
    assert asker(tmp_path, modality="").case(0, "main", -1).study is None
    assert asker(tmp_path, modality="pathology").case(0, "main", -1).study is None


@pytest.mark.parametrize(("said", "dicom"), [("X-Ray", "DX"), ("CT", "CT"), ("MRI", "MR"), ("ultrasound", "US")])
def test_modalities_are_known_by_their_usual_names(tmp_path, said, dicom):
    assert asker(tmp_path, modality=said).case(0, "main", -1).study.series[0].modality == dicom


def test_pictures_in_memory_are_shown_as_they_are(tmp_path):
    picture = Picture(np.full((4, 4, 3), 7, np.uint8))
    ask = Asker(
        [Sample("a", "all", "q", "q", "yes", images=(picture,), modality="CT")], Lender(run_expert), (), 1, False
    )
    case = ask.case(0, "main", -1)
    assert case.pictures == (picture,)
    assert case.study is None


def test_a_sample_that_cannot_be_asked_says_why(tmp_path):
    ask = asker(tmp_path)
    (tmp_path / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png"):
        ask.case(0, "main", -1)
    assert ask.case(0, "text_only", -1).question == "ask 0"
    broken = Asker([Sample("a", "all", "", "", "", problem="row 3: no answer")], Lender(run_expert), (), 1, False)
    with pytest.raises(InputError, match="row 3: no answer"):
        broken.case(0, "text_only", -1)


def test_what_is_lent_is_for_that_question_alone(tmp_path):
    seen = []

    def run(expert, study, arguments=None, **more):
        seen.append(study)
        return "finding"

    lender = Lender(run)
    ask = Asker(asker(tmp_path).samples, lender, ("expert",), 1, False)
    first, lent = ask.case(0, "main", -1), ask.case(0, "expert_shuffled", 2)
    assert grey(lent) == grey(first) == [10]
    for case in (first, lent):
        assert lender("expert", case.study) == "finding"
    assert [study.path.name for study in seen] == ["0.png", "2.png"]


def test_the_published_prompt_needs_a_study_to_examine(tmp_path):
    ask = asker(tmp_path, reference=True, modality="", experts=("expert",))
    with pytest.raises(InputError, match="known modality"):
        ask.case(0, "main", -1)


def test_a_record_of_what_was_not_asked_holds_the_reason():
    told = record(3, Sample("a", "all", "q", "q", "yes"), Condition("blank", 2), "a.png:\x1b[31m is broken", ())
    assert told == {
        "i": 3, "id": "a", "part": "all", "condition": "blank", "seed": 2, "pictures": [], "answer": "",
        "status": "error", "error": "a.png:\\x1b[31m is broken",
    }  # fmt: skip


def test_samples_about_the_same_images_belong_together(tmp_path):
    (one, other, _) = asker(tmp_path).samples
    again = Sample("x", "all", "Another?", "Another?", "no", "p9", one.images)
    assert again.place == one.place != other.place
    assert Sample("x", "all", "q", "q", "no", "p9").place == "p9"
    assert Sample("x", "all", "q", "q", "no").place == "x"
