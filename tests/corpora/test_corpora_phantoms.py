"""Phantoms as training data, streamed and from a folder."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from attending.corpora import check_leaks, load_picture, read
from attending.errors import InputError
from attending.phantom import generate
from attending.phantom.write import write

SHAPES = {"ct": (64, 64, 64), "mri": (64, 64, 64), "cxr": (128, 1, 128)}


def said(conversation):
    return [message.content for message in conversation.messages]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("phantoms")
    wishes = {"ct": ["liver lesion:size=40,place=segment V"], "mri": ["brain tumor:size=45"], "cxr": ["cardiomegaly"]}
    for kind, shape in SHAPES.items():
        write(generate(kind, 3, findings=wishes[kind], shape=shape), home, ("nifti", "png"))
    write(generate("cxr", 950_001, findings=["cardiomegaly"], shape=SHAPES["cxr"]), home, ("nifti", "png"))
    return home


@pytest.fixture(scope="module")
def films():
    dataset = read("phantom", None, kinds="cxr", cases=3, questions=20, size=128)
    return replace(dataset, conversations=list(dataset.conversations))  # made once for all tests


class TestStream:
    def test_the_same_index_gives_the_same_conversation(self, films):
        again = read("phantom", None, kinds="cxr", cases=3, questions=20, size=128)
        for index in (0, 59):
            one, other = films.conversations[index], again.conversations[index]
            assert (one.id, one.messages) == (other.id, other.messages)
            assert one.images[0].digest == other.images[0].digest

    def test_ids_are_unique_and_patients_are_seeds(self, films):
        assert len({c.id for c in films.conversations}) == len(films.conversations) == 60
        assert films.patients == {"phantom 0", "phantom 1", "phantom 2"}

    def test_no_answer_gives_a_size_that_the_picture_does_not_show(self, films):
        assert not [c for c in films.conversations if re.search(r"\d ?(mm|mL)", said(c)[1])]
        assert {"Yes", "No"} <= {re.split(r"\W", said(c)[1])[0] for c in films.conversations}

    def test_training_uses_training_seeds_and_wordings_only(self, films):
        assert {c.facts["reserved wording"] for c in films.conversations} == {"false"}
        test = read("phantom", None, "test", kinds="cxr", cases=2, questions=16, size=128)
        assert "true" in {c.facts["reserved wording"] for c in test.conversations}
        assert not check_leaks([films, test, read("phantom", None, "validate", kinds="cxr", cases=2)])

    def test_slices_of_those_with_and_without_lie_in_the_same_place(self):
        """A picture chosen by where the lesion is, against a middle one for those without, would give the answer."""
        dataset = read("phantom", None, kinds="mri", cases=6, questions=8, styles="A", size=64)
        places = {"yes": [], "no": []}
        for one in dataset.conversations:
            if one.facts["question type"] == "presence":
                places["no" if said(one)[1].lower().startswith("no") else "yes"].append(one.images[0].index)
        assert places["yes"]
        assert max(places["no"]) >= min(places["yes"])
        assert min(places["no"]) <= max(places["yes"])

    def test_wrong_options_are_named(self):
        with pytest.raises(InputError, match="expected some of ct, mri, cxr"):
            read("phantom", None, kinds="pet")
        with pytest.raises(InputError, match="its options are: kinds, cases"):
            read("phantom", None, kind="ct")
        with pytest.raises(InputError, match="questions is 0: expected 1 or more"):
            read("phantom", None, questions=0)
        with pytest.raises(InputError, match="900000 seeds"):
            read("phantom", None, cases=900_001)


class TestFolder:
    def test_every_kind_gives_conversations_with_pictures(self, folder):
        dataset = read("phantom-folder", folder)
        assert {c.facts["modality"] for c in dataset.conversations} == {"CT", "MRI", "CXR"}
        assert not dataset.problems
        for one in dataset.conversations:
            assert load_picture(one.images[0]).pixels.std() > 1

    def test_the_split_goes_by_seed(self, folder):
        test = read("phantom-folder", folder, "test")
        assert {c.patient for c in test.conversations} == {"phantom 950001"}
        assert not check_leaks([read("phantom-folder", folder), test])

    def test_a_positive_answer_is_shown_on_a_slice_with_the_finding(self, folder):
        import nibabel as nib

        case = next(folder.glob("ct-*"))
        found = nib.load(case / "visit1/findings.nii.gz").get_fdata() > 0
        made = [c for c in read("phantom-folder", folder).conversations if c.facts["modality"] == "CT"]
        yes = [c for c in made if c.facts["about"] == "liver lesion" and said(c)[1].startswith("Yes")]
        assert yes
        assert all(found[:, :, c.images[0].index].any() for c in yes)

    def test_one_slice_is_not_said_to_cover_the_whole_scan(self, folder):
        body = [c for c in read("phantom-folder", folder).conversations if c.facts["question type"] == "body"]
        assert {c.facts["modality"] for c in body} == {"MRI", "CXR"}

    def test_streamed_and_written_radiographs_look_the_same(self, folder):
        case = next(folder.glob("cxr-A-00000003"))
        film = generate("cxr", 3, findings=["cardiomegaly"], shape=SHAPES["cxr"]).volumes["frontal"].array
        expected = np.rint(film[::-1, 0, ::-1].T.astype(float) / 4095 * 255)
        shown = load_picture(case / "visit1/frontal.png").pixels[..., 0]
        assert np.abs(shown - expected).max() <= 1

    @pytest.mark.parametrize("content", ["", "[]", '{"kind": "ct"}', '{"kind": "x", "questions": [1], "visits": [{}]}'])
    def test_a_truth_file_that_is_none_is_collected(self, tmp_path, content):
        (tmp_path / "truth.json").write_text(content)
        assert "written by attending phantom" in str(read("phantom-folder", tmp_path).problems[0])

    def test_cases_without_pictures_are_told_of(self, folder, tmp_path):
        told = json.loads(next(folder.glob("cxr-A-00000003/truth.json")).read_text())
        told["visits"][-1]["files"] = {"labels": "x", "findings": "y"}
        (tmp_path / "truth.json").write_text(json.dumps(told))
        assert "write it again" in str(read("phantom-folder", tmp_path).problems[0])
        with pytest.raises(InputError, match=r"no truth.json"):
            read("phantom-folder", folder / "cxr-A-00000003" / "visit1")
