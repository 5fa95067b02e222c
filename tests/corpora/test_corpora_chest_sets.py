"""ChestX-ray14, CheXpert, Medical-Diff-VQA and MIMIC-CXR in the form in which they are published."""

import gzip

import published_files as files
import pytest

from attending.corpora import check_leaks, read
from attending.corpora.readers.chexpert import FINDINGS
from attending.errors import InputError


def said(conversation):
    return [message.content for message in conversation.messages]


class TestChestXray14:
    def test_mined_labels_by_turns_of_there_and_absent(self, tmp_path):
        train = read("chest-xray14", files.chest_xray14(tmp_path))
        answers = {c.facts["question type"]: said(c)[1] for c in train.conversations if "1_000" in c.id}
        assert sorted(answers.values()) == ["no", "yes"]
        assert {"Cardiomegaly", "Emphysema"} & set(answers)
        assert len(train.conversations) == 4  # two pictures of patient 1

    def test_the_question_is_vila_m3s(self, tmp_path):
        train = read("chest-xray14", files.chest_xray14(tmp_path), questions=0)
        one = next(c for c in train.conversations if c.facts["question type"] == "Pleural Thickening")
        assert said(one)[0] == (
            "<image>\nThe following is a question about findings in chest X-ray in the frontal view. Please reply with "
            "yes or no.\nQuestion: is there pleural thickening according to the provided X-ray image?\n"
        )
        assert len(train.conversations) == 28

    def test_patients_of_the_experts_validation_set_leave_train(self, tmp_path):
        folder = files.chest_xray14(tmp_path)
        train = read("chest-xray14", folder)
        assert {c.patient for c in train.conversations} == {"NIH 1"}
        assert train.counts["passed over: patient of the experts' validation set"] == 1
        validate = read("chest-xray14", folder, "validate")
        assert {c.patient for c in validate.conversations} == {"NIH 2"}
        assert not check_leaks([train, validate, read("chest-xray14", folder, "test")])
        (folder / "four_findings_expert_labels/validation_labels.csv").unlink()
        assert "none of its patients is left out" in read("chest-xray14", folder).notes[0]

    def test_experts_labels_of_the_test_set(self, tmp_path):
        test = read("chest-xray14", files.chest_xray14(tmp_path), "test", labels="experts")
        answers = {c.facts["question type"]: said(c)[1] for c in test.conversations}
        assert answers == {"fracture": "no", "pneumothorax": "yes", "lung opacity": "no", "nodule or mass": "no"}
        assert test.conversations[0].facts["labels"] == "read by experts"

    def test_pictures_are_found_in_the_folders_of_the_archives(self, tmp_path):
        train = read("chest-xray14", files.chest_xray14(tmp_path))
        assert {c.images[0].parent.parent.name for c in train.conversations} == {"images_001", tmp_path.name}

    def test_wrong_values_are_named(self, tmp_path):
        folder = files.chest_xray14(tmp_path)
        path = folder / "Data_Entry_2017_v2020.csv"
        path.write_text(path.read_text().replace("No Finding", "Nothing"))
        labels = folder / "four_findings_expert_labels/test_labels.csv"
        labels.write_text(labels.read_text().replace("YES", "HEDGE"))
        assert "Finding Labels is Nothing" in str(read("chest-xray14", folder).problems[0])
        problem = read("chest-xray14", folder, "test", labels="experts").problems[0]
        assert "Pneumothorax is HEDGE: expected YES or NO" in str(problem)
        with pytest.raises(InputError, match="validation and test pictures only"):
            read("chest-xray14", folder, labels="experts")


class TestCheXpert:
    def test_unsure_and_unmentioned_findings_are_not_asked_for(self, tmp_path):
        train = read("chexpert", files.chexpert(tmp_path), questions=0)
        answers = {c.facts["question type"]: said(c)[1] for c in train.conversations}
        assert answers == {"Cardiomegaly": "yes", "Pleural Effusion": "no", "Support Devices": "yes"}
        assert train.counts["passed over: lateral view"] == 1
        assert train.conversations[0].patient == "CheXpert patient00001"

    @pytest.mark.parametrize("unsure", ["yes", "no"])
    def test_unsure_labels_can_be_taken_either_way(self, tmp_path, unsure):
        train = read("chexpert", files.chexpert(tmp_path), questions=0, unsure=unsure)
        assert {c.facts["question type"]: said(c)[1] for c in train.conversations}["Edema"] == unsure

    def test_the_test_set_asks_all_fourteen_of_the_first_frontal_view_of_a_study(self, tmp_path):
        test = read("chexpert", files.chexpert(tmp_path), "test")
        answers = {c.facts["question type"]: said(c)[1] for c in test.conversations}
        assert len(answers) == 14
        assert [name for name, answer in answers.items() if answer == "yes"] == ["Edema"]
        assert test.conversations[0].images[0].name == "view1_frontal.jpg"
        assert len(read("chexpert", files.chexpert(tmp_path), "validate").conversations) == 14

    def test_a_test_table_of_pictures_is_read_too(self, tmp_path):
        folder = files.chexpert(tmp_path)
        rows = [("CheXpert/test/patient64741/study1/view1_frontal.jpg", *("0" for _ in FINDINGS)),
                ("CheXpert/test/patient64741/study1/view2_frontal.jpg", *("0" for _ in FINDINGS))]  # fmt: skip
        files.table(folder / "test_labels.csv", ("Path", *FINDINGS), rows)
        test = read("chexpert", folder, "test")
        assert len(test.conversations) == 13  # this table does not tell No Finding
        assert test.counts["passed over: second view of a study"] == 1
        files.table(folder / "test_labels.csv", ("Image", *FINDINGS), rows)
        with pytest.raises(InputError, match="lacks the column Path, or Study"):
            read("chexpert", folder, "test")

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("-1.0", "0.1", "Edema is 0.1: expected 1, 0, -1 or nothing"),  # the reference reads 0.1 as positive
            ("train/patient00001", "train/somebody", "expected a path with the patient"),
            ("train/patient00001", "../train/patient00001", "plain name below the folder"),
        ],
    )
    def test_a_label_or_path_that_is_none_is_refused(self, tmp_path, old, new, problem):
        folder = files.chexpert(tmp_path)
        path = folder / "train.csv"
        path.write_text(path.read_text().replace(old, new))
        assert problem in str(read("chexpert", folder).problems[0])

    def test_a_missing_column_is_named(self, tmp_path):
        folder = files.chexpert(tmp_path)
        path = folder / "train.csv"
        path.write_text(path.read_text().replace("Edema", "Oedema"))
        with pytest.raises(InputError, match="lacks the column Edema"):
            read("chexpert", folder)


class TestMedicalDiffVqa:
    def test_single_pictures_by_default_and_differences_when_asked(self, tmp_path):
        folder = files.medical_diff_vqa(tmp_path)
        train = read("medical-diff-vqa", folder)
        assert [c.facts["question type"] for c in train.conversations] == ["presence", "location"]
        assert [c.facts["answer type"] for c in train.conversations] == ["closed", "open"]
        assert train.counts["passed over: question about a difference"] == 1
        both = read("medical-diff-vqa", folder, difference=True).conversations[-1]
        assert said(both)[0].startswith("Reference image: <image>\nMain image: <image>\nwhat has changed")
        assert [image.parent.name for image in both.images] == ["s50414267", "s50000001"]

    def test_the_split_can_be_that_of_mimic_cxr(self, tmp_path):
        folder = files.medical_diff_vqa(tmp_path)
        validate = read("medical-diff-vqa", folder, "validate")
        assert [c.patient for c in validate.conversations] == ["MIMIC 10000898"]
        by_mimic = read("medical-diff-vqa", folder, by="mimic")
        assert "MIMIC 10000898" in {c.patient for c in by_mimic.conversations}
        leak = check_leaks([read("mimic-cxr", folder, text="verbatim", section="both"), validate])
        assert not leak  # the study of that patient has no report to train on
        assert check_leaks([by_mimic, validate])

    def test_a_leak_into_the_reports_of_mimic_cxr_is_found_across_datasets(self, tmp_path):
        folder = files.medical_diff_vqa(tmp_path)
        leaks = check_leaks([read("medical-diff-vqa", folder), read("mimic-cxr", folder, "test")])
        assert leaks == []
        path = folder / "mimic_pair_questions.csv"
        path.write_text(path.read_text().replace("ap view,test", "ap view,train"))
        leaks = check_leaks([read("medical-diff-vqa", folder), read("mimic-cxr", folder, "test")])
        assert "MIMIC 10000764" in str(leaks[0])

    def test_problems_name_row_and_value(self, tmp_path):
        folder = files.medical_diff_vqa(tmp_path)
        path = folder / "mimic_pair_questions.csv"
        text = path.read_text().replace("50414267,10000032,,presence", "99,10000032,,presence")
        path.write_text(text.replace(",location,", ",colour,").replace("edema,val", "edema,dev2"))
        found = "\n".join(map(str, read("medical-diff-vqa", folder).problems))
        assert "study_id is 99: is not in mimic_all.csv" in found
        assert "question_type is colour" in found
        assert "split is dev2" in found


class TestMimicCxr:
    def test_frontal_views_with_the_rules_form_of_the_findings(self, tmp_path):
        train = read("mimic-cxr", files.mimic_cxr(tmp_path))
        assert len(train.conversations) == 1
        assert said(train.conversations[0]) == [
            "<image>\nDescribe the image in detail.",
            "There is no focal consolidation or pneumothorax. There is a 2.5 cm nodule in the right upper lobe. "
            "The heart is mildly enlarged.",
        ]
        assert train.counts["passed over: no findings that one picture can answer for"] == 1
        assert train.counts["view: PA"] == 1

    def test_other_sections_views_and_the_verbatim_text(self, tmp_path):
        folder = files.mimic_cxr(tmp_path)
        impression = read("mimic-cxr", folder, section="impression").conversations[0]
        assert said(impression)[1] == "No acute process."
        assert len(read("mimic-cxr", folder, views="PA,LATERAL").conversations) == 2
        verbatim = said(read("mimic-cxr", folder, text="verbatim").conversations[0])[1]
        assert "similar to prior" in verbatim
        assert "nodule in the" in verbatim  # a line ends between them

    def test_unpacked_tables_and_reports_beside_them_are_known(self, tmp_path):
        folder = files.mimic_cxr(tmp_path)
        for path in folder.glob("*.csv.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
        (folder / "mimic-cxr-reports").rename(tmp_path / "elsewhere")
        dataset = read("mimic-cxr", folder, "test", reports=str(tmp_path / "elsewhere"))
        assert said(dataset.conversations[0])[1] == "The lungs are clear."

    def test_missing_reports_and_pictures_are_collected(self, tmp_path):
        folder = files.mimic_cxr(tmp_path)
        (folder / "mimic-cxr-reports/files/p10/p10000898/s50771383.txt").unlink()
        (folder / "files/p10/p10000032/s50414267/02aa804e.jpg").unlink()
        dataset = read("mimic-cxr", folder)
        assert len(dataset.problems) == 2
        assert not dataset.conversations

    def test_a_truncated_table_is_refused(self, tmp_path):
        folder = files.mimic_cxr(tmp_path)
        path = folder / "mimic-cxr-2.0.0-split.csv.gz"
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(InputError, match="cannot be read as CSV"):
            read("mimic-cxr", folder)
