"""Segmentation sets in the layouts of the decathlon and of BraTS, as slices with questions and as labelled cases."""

import json

import nibabel as nib
import numpy as np
import published_files as files
import pytest

from attending.corpora import read
from attending.corpora.readers import brats, decathlon
from attending.errors import InputError
from attending.imaging import reference_picture


def said(conversation):
    return [message.content for message in conversation.messages]


def asked(dataset, about):
    return [c for c in dataset.conversations if c.facts["about"] == about]


class TestDecathlon:
    def test_labels_get_the_experts_ids_and_names(self, tmp_path):
        case = decathlon.cases(files.decathlon(tmp_path))[0].open()
        assert case.names == {1: "liver", 26: "hepatic tumor"}
        assert case.lesions == {26}
        assert set(np.unique(case.labels.array)) == {0, 1, 26}
        assert (case.labels.array == 26).sum() == 6 * 6 * 3
        assert case.study.series[0].modality == "CT"

    def test_a_cache_of_experts_results_knows_one_case_from_another(self, tmp_path):
        from attending.evaluation.expert_cache import study_digest

        cases = decathlon.cases(files.decathlon(tmp_path))
        first, second = (study_digest(case.open().study) for case in cases)
        assert first != second
        assert first == study_digest(cases[0].open().study)

    def test_yes_and_no_are_true_of_the_slice_that_is_shown(self, tmp_path):
        folder = files.decathlon(tmp_path)
        dataset = read("decathlon", folder)
        masks = {f"liver_{n}": nib.load(folder / f"labelsTr/liver_{n}.nii.gz").get_fdata() for n in (0, 1)}
        tumor = asked(dataset, "hepatic tumor")
        assert [said(c)[1] for c in tumor] == ["yes", "no", "no"]  # the second case has none
        for one in tumor:
            on_slice = (masks[one.facts["original id"]][:, :, int(one.facts["slice"])] == 2).any()
            assert on_slice == (said(one)[1] == "yes")
        without = tumor[1]
        assert (masks["liver_0"][:, :, int(without.facts["slice"])] == 1).any()  # the liver is there: no giveaway

    def test_the_picture_is_that_slice_as_published_checkpoints_saw_it(self, tmp_path):
        folder = files.decathlon(tmp_path)
        one = asked(read("decathlon", folder), "hepatic tumor")[0]
        volume = decathlon.cases(folder)[0].open().study.series[0].volume
        assert one.images[0].digest == reference_picture(volume, int(one.facts["slice"])).digest
        assert said(one)[0] == "<image>This is a CT image.\nDoes this slice show hepatic tumor?"

    def test_what_is_shown_is_listed(self, tmp_path):
        dataset = read("decathlon", files.decathlon(tmp_path))
        listed = [said(c)[1] for c in dataset.conversations if c.facts["question type"] == "structures"]
        assert listed[1] == "Liver."
        assert listed[0] in ("Liver.", "Liver and hepatic tumor.")
        assert dataset.counts["images"] == 4

    def test_shares_cut_by_case(self, tmp_path):
        folder = files.decathlon(tmp_path, cases=6)
        parts = [read("decathlon", folder, split, shares="50,25,25") for split in ("train", "validate", "test")]
        patients = [part.patients for part in parts]
        assert sum(map(len, patients)) == 6
        assert len(frozenset.union(*patients)) == 6
        assert not read("decathlon", folder, "test").conversations

    def test_four_channels_become_sequences_by_name(self, tmp_path):
        mask = np.zeros((16, 16, 8), np.uint8)
        mask[4:9, 4:9, 2:5], mask[5:7, 5:7, 3:5] = 1, 3
        channels = np.stack([np.full(mask.shape, 10 * n + 1) + mask for n in range(4)], -1).astype(np.int16)
        files.volume(tmp_path / "imagesTr/BRATS_001.nii.gz", channels)
        files.volume(tmp_path / "labelsTr/BRATS_001.nii.gz", mask)
        (tmp_path / "dataset.json").write_text(json.dumps({
            "name": "BRATS", "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "training": [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}],
        }))  # fmt: skip
        case = decathlon.cases(tmp_path)[0].open()
        assert set(np.unique(case.labels.array)) == {0, 2, 4}  # BraTS's ids, not the decathlon's
        assert [s.sequence for s in case.study.series] == ["t1ce", "t1", "t2", "flair"]
        assert [int(s.volume.array[0, 0, 0]) for s in case.study.series] == [21, 11, 31, 1]
        one = read("decathlon", tmp_path).conversations[0]
        assert said(one)[0].startswith("T1(contrast enhanced): <image>, T1: <image>, T2: <image>, FLAIR: <image>")

    def test_labels_that_no_expert_knows_keep_their_names(self, tmp_path):
        folder = files.decathlon(tmp_path)
        told = json.loads((folder / "dataset.json").read_text())
        told |= {"name": "Mine", "labels": {"background": 0, "stone": 1, "scar": 2}, "channel_names": {"0": "CT"}}
        del told["modality"]  # nnU-Net's form
        (folder / "dataset.json").write_text(json.dumps(told))
        named = folder.rename(tmp_path.parent / "stones")
        assert set(decathlon.cases(named)[0].open().names.values()) == {"stone", "scar"}

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"labels": {"0": "background", "1": "liver"}}, "expected label ids 0, 1"),
            ({"modality": {"0": "PET"}}, ""),
            ({"labels": ["liver"]}, "labels"),
            ({"modality": {}}, "modality"),
            ({"training": {}}, "training"),
            ({"training": [{"image": "../../etc/passwd", "label": "x"}]}, "below the folder"),
            ({"training": ["x"]}, "expected image and label"),
        ],
    )
    def test_a_table_that_does_not_fit_is_told(self, tmp_path, change, problem):
        folder = files.decathlon(tmp_path)
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        try:
            found = [str(one) for one in read("decathlon", folder).problems]
        except InputError as error:
            found = [str(error)]
        assert any(problem in one for one in found) == bool(problem)

    def test_a_mask_of_another_grid_is_refused(self, tmp_path):
        folder = files.decathlon(tmp_path)
        files.volume(folder / "labelsTr/liver_0.nii.gz", files.liver_mask(), np.diag([1.0, 1.0, 2.0, 1.0]))
        with pytest.raises(InputError, match="lies elsewhere than its image"):
            decathlon.cases(folder)[0].open()
        files.volume(folder / "labelsTr/liver_0.nii.gz", files.liver_mask((8, 8, 4)))
        with pytest.raises(InputError, match=r"shape is \(8, 8, 4\)"):
            decathlon.cases(folder)[0].open()

    def test_missing_and_broken_volumes_are_collected(self, tmp_path):
        folder = files.decathlon(tmp_path, cases=3)
        (folder / "imagesTr/liver_0.nii.gz").unlink()
        label = folder / "labelsTr/liver_1.nii.gz"
        label.write_bytes(label.read_bytes()[:60])
        dataset = read("decathlon", folder)
        assert len(dataset.problems) == 2
        assert {c.facts["original id"] for c in dataset.conversations} == {"liver_2"}


class TestBrats:
    def test_2018_with_its_grades(self, tmp_path):
        files.brats_case(tmp_path / "HGG", "Brats18_CBICA_AAB_1")
        files.brats_case(tmp_path / "LGG", "Brats18_2013_10_1")
        cases = brats.cases(tmp_path)
        assert [case.facts for case in cases] == [{"grade": "HGG"}, {"grade": "LGG"}]
        assert [case.patient for case in cases] == ["BraTS CBICA_AAB", "BraTS 2013_10"]
        opened = cases[0].open()
        assert [s.sequence for s in opened.study.series] == ["t1ce", "t1", "t2", "flair"]
        assert set(np.unique(opened.labels.array)) == {0, 1, 2, 4}

    def test_2020_by_its_mapping(self, tmp_path):
        files.brats_case(tmp_path, "BraTS20_Training_001", suffix=".nii")
        files.table(
            tmp_path / "name_mapping.csv",
            ("Grade", "BraTS_2017_subject_ID", "BraTS_2018_subject_ID", "BraTS_2019_subject_ID",
             "TCGA_TCIA_subject_ID", "BraTS_2020_subject_ID"),
            [("LGG", "Brats17_CBICA_AAB_1", "Brats18_CBICA_AAB_1", "BraTS19_CBICA_AAB_1", "NA",
              "BraTS20_Training_001")],
        )  # fmt: skip
        case = brats.cases(tmp_path)[0]
        assert case.patient == "BraTS CBICA_AAB"  # the same person as in 2018
        assert case.facts["grade"] == "LGG"

    def test_2023_has_other_names_and_another_id_for_the_enhancing_tumor(self, tmp_path):
        for visit in ("000", "001"):
            files.brats_case(tmp_path, f"BraTS-GLI-00000-{visit}", "-", labels=(1, 2, 3))
        cases = brats.cases(tmp_path)
        assert {case.patient for case in cases} == {"BraTS BraTS-GLI-00000"}  # two scans of one
        labels = cases[0].open().labels.array
        assert set(np.unique(labels)) == {0, 1, 2, 4}
        assert (labels == 4).sum() == (files.brats_mask() == 4).sum()

    def test_a_resection_cavity_is_no_enhancing_tumor(self, tmp_path):
        files.brats_case(tmp_path, "BraTS-GLI-02000-100", "-", labels=(4, 2, 3))
        case = brats.cases(tmp_path)[0].open()
        assert case.names[145] == "resection cavity"
        assert (case.labels.array == 145).sum() == (files.brats_mask() == 1).sum()

    def test_questions_show_four_sequences(self, tmp_path):
        files.brats_case(tmp_path / "HGG", "Brats18_CBICA_AAB_1")
        dataset = read("brats", tmp_path)
        assert {len(c.images) for c in dataset.conversations} == {4}
        assert {c.facts["modality"] for c in dataset.conversations} == {"MRI"}
        assert dataset.counts["images"] == 5
        assert (
            len(
                {c.images[0].digest for c in dataset.conversations[:1]}
                | {image.digest for image in dataset.conversations[0].images}
            )
            == 4
        )  # not one picture four times

    def test_a_missing_sequence_and_an_unknown_label_are_named(self, tmp_path):
        files.brats_case(tmp_path, "Brats18_A_1")
        files.brats_case(tmp_path, "Brats18_B_1", labels=(1, 2, 3))
        (tmp_path / "Brats18_A_1" / "Brats18_A_1_flair.nii.gz").unlink()
        found = "\n".join(map(str, read("brats", tmp_path).problems))
        assert "expected Brats18_A_1_flair.nii.gz beside it" in found
        assert "label is 3: expected label ids 0, 1, 2, 4" in found

    def test_an_empty_folder_is_told_what_was_expected(self, tmp_path):
        with pytest.raises(InputError, match=r"<case>_seg.nii.gz"):
            read("brats", tmp_path)
