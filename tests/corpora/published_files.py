"""Small datasets in the form in which the real ones are published: names, columns, quirks and all."""

import csv
import gzip
import io
import json
import pickle

import nibabel as nib
import numpy as np
from PIL import Image

CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip


def picture(path, seed=0, size=(24, 20)):
    """A picture that differs from seed to seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def table(path, header, rows, packed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def rad_row(qid, image, question, answer, phrase="freeform", **more):
    return {
        "qid": qid, "phrase_type": phrase, "qid_linked_id": f"link{qid}",
        "image_case_url": f"https://medpix.nlm.nih.gov/case?id=case-{image}", "image_name": f"{image}.jpg",
        "image_organ": "HEAD", "evaluation": "not evaluated", "question": question, "question_rephrase": "NULL",
        "question_relation": "NULL", "question_frame": "NULL", "question_type": "PRES", "answer": answer,
        "answer_type": "CLOSED ",
    } | more  # fmt: skip


def vqa_rad(folder, rows=None):
    """OSF's folder: a list of dicts, answers that Excel made numbers, answer types with a space behind them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows or [
        rad_row(1, "synpic1", "Are regions of the brain infarcted?", "Yes",
                question_rephrase="Is the brain infarcted?"),
        rad_row(2, "synpic1", "Is the brain infarcted?", "Yes", "test_para"),
        rad_row(3, "synpic2", "How many lesions?", 3, answer_type="OPEN", question_type="COUNT",
                question_rephrase="What is the number of lesions?", image_organ="CHEST"),
        rad_row(4, "synpic3", "Is there air?", "No", "test_freeform"),
        rad_row(5, "synpic2", "What plane?", "Axial", "para", answer_type="OPEN", question_type="PLANE"),
        rad_row(6, "synpic3", "is there air?", "no"),
    ]  # fmt: skip
    for name in {row["image_name"] for row in rows}:
        picture(folder / "VQA_RAD Image Folder" / name, seed=len(name) + int(name[6]))
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    return folder


def slake_row(qid, image, question, answer, language="en", **more):
    return {
        "img_id": image, "img_name": f"xmlab{image}/source.jpg", "question": question, "answer": answer,
        "q_lang": language, "location": "Abdomen", "modality": "MRI", "answer_type": "OPEN", "base_type": "vqa",
        "content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": qid,
    } | more  # fmt: skip


def slake(folder):
    """Three files over the same folder of pictures; one published answer is empty."""
    rows = {
        "train": [
            slake_row(0, 1, "What modality is used to take this image?", "MRI"),
            slake_row(1, 1, "图像中有肝脏吗", "有", "zh"),
            slake_row(1622, 2, "What is this?", ""),
            slake_row(7, 2, "Is there a liver?", "Yes", answer_type="CLOSED", content_type="Organ"),
        ],
        "validate": [slake_row(20, 3, "Which plane?", "Axial")],
        "test": [slake_row(11934, 102, "What modality is used to take this image?", "CT", modality="CT")],
    }
    for name, told in rows.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        for row in told:
            picture(folder / "imgs" / row["img_name"], seed=row["img_id"])
    return folder


def path_vqa(folder, answers=("yes", "in the canals of hering")):
    """The authors' pickles: a list of dicts, the answer as the key of a dict."""
    rows = [
        {"answer_type": "yes/no", "img_id": "train_0422", "label": {answers[0]: 1}, "question_id": 100422000,
         "question_type": "is", "sent": "Is this a liver?"},
        {"answer_type": "other", "img_id": "train_0422", "label": {answers[1]: 1}, "question_id": 100422001,
         "question_type": "where", "sent": "Where are liver stem cells (oval cells) located?"},
        {"answer_type": "other", "img_id": "train_0001", "label": {}, "question_id": 100422002,
         "question_type": "what", "sent": "What is shown?"},
    ]  # fmt: skip
    (folder / "qas" / "train").mkdir(parents=True)
    (folder / "qas" / "train_vqa.pkl").write_bytes(pickle.dumps(rows, protocol=2))
    plain = [{"image": row["img_id"], "question": row["sent"], "answer": "neutrophils"} for row in rows]
    (folder / "qas" / "train" / "train_qa.pkl").write_bytes(pickle.dumps(plain))
    for number, name in enumerate(("train_0422", "train_0001")):
        picture(folder / "images" / "train" / f"{name}.jpg", seed=number)
    return folder


def path_vqa_hub(folder):
    """The model hub's parquet: a picture's bytes again for each question about it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [picture(folder / f"{seed}.jpg", seed).read_bytes() for seed in (0, 1)]
    rows = [
        {"image": {"bytes": data[0], "path": None}, "question": "is it a liver?", "answer": "yes"},
        {"image": {"bytes": data[0], "path": None}, "question": "what is it?", "answer": "a liver"},
        {"image": {"bytes": data[1], "path": None}, "question": "what is it?", "answer": "a spleen"},
    ]
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    return folder


def medqa(folder):
    row = {
        "question": "A 23-year-old woman. Which is the best treatment?", "answer": "Nitrofurantoin",
        "options": {"A": "Ampicillin", "B": "Ceftriaxone", "C": "Ciprofloxacin", "D": "Doxycycline",
                    "E": "Nitrofurantoin"},
        "meta_info": "step2&3", "answer_idx": "E",
    }  # fmt: skip
    home = folder / "questions" / "US"
    (home / "4_options").mkdir(parents=True)
    (home / "train.jsonl").write_text(json.dumps(row) + "\n")
    four = row | {"options": {"A": "Ampicillin", "B": "Nitrofurantoin"}, "answer_idx": "B", "metamap_phrases": []}
    (home / "4_options" / "phrases_no_exclude_train.jsonl").write_text(json.dumps(four) + "\n")
    return folder


NIH = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position",
       "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]")  # fmt: skip


def chest_xray14(folder):
    """NIH's tables (the header ends in a comma, as published) and Google's experts' labels."""
    rows = [
        ("00000001_000.png", "Cardiomegaly|Emphysema", 0, 1, 58, "M", "PA", 2682, 2749, 0.143, 0.143, ""),
        ("00000001_001.png", "No Finding", 1, 1, 59, "M", "PA", 2682, 2749, 0.143, 0.143, ""),
        ("00000002_000.png", "Effusion", 0, 2, 80, "F", "AP", 2500, 2048, 0.171, 0.171, ""),
        ("00000003_000.png", "Pneumothorax", 0, 3, 45, "F", "PA", 2500, 2048, 0.1, 0.1, ""),
    ]
    table(folder / "Data_Entry_2017_v2020.csv", (*NIH, ""), rows)
    (folder / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n00000002_000.png\n")
    (folder / "test_list.txt").write_text("00000003_000.png")
    labels = (*NIH, "Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass", "Set Id")
    home = folder / "four_findings_expert_labels"
    table(home / "test_labels.csv", labels, [(*rows[3][:11], "NO", "YES", "NO", "NO", "test")])
    table(home / "validation_labels.csv", labels, [(*rows[2][:11], "NO", "NO", "YES", "NO", "validation")])
    for seed, row in enumerate(rows):
        home = "images" if seed != 1 else "images_001/images"
        picture(folder / home / row[0], seed)
    return folder


def chexpert(folder):
    """Stanford's tables: 1.0, 0.0, -1.0 or nothing, and paths that begin with the release's name."""
    header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
    first = {"Cardiomegaly": "1.0", "Edema": "-1.0", "Pleural Effusion": "0.0", "Support Devices": "1.0"}
    rows = [
        ("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", "Female", 68, "Frontal", "AP",
         *(first.get(name, "") for name in CHEXPERT)),
        ("CheXpert-v1.0-small/train/patient00001/study1/view2_lateral.jpg", "Female", 68, "Lateral", "",
         *("" for _ in CHEXPERT)),
    ]  # fmt: skip
    table(folder / "train.csv", header, rows)
    table(folder / "valid.csv", header,
          [("CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg", "Male", 73, "Frontal", "AP",
            *("0.0" for _ in CHEXPERT))])  # fmt: skip
    studies = [("CheXpert-v1.0/test/patient64741/study1", *("1" if name == "Edema" else "0" for name in CHEXPERT))]
    table(folder / "groundtruth.csv", ("Study", *CHEXPERT), studies)
    for seed, name in enumerate(("train/patient00001", "valid/patient64541", "test/patient64741")):
        picture(folder / name / "study1" / "view1_frontal.jpg", seed)
    return folder


REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation or pneumothorax.  There is a 2.5 cm nodule
 in the right upper lobe. The heart is mildly enlarged, similar to prior.
 Findings were discussed with Dr. ___ by phone.

 IMPRESSION:

 1. No acute process.
"""


def mimic_cxr(folder, reports=None):
    """PhysioNet's tables, gzipped; one study with two views, one of the test split, one without findings."""
    studies = [
        ("10000032", "50414267", "02aa804e", "train", "PA"), ("10000032", "50414267", "174413ec", "train", "LATERAL"),
        ("10000764", "57375967", "096052b7", "test", "AP"), ("10000898", "50771383", "2a280266", "train", "AP"),
    ]  # fmt: skip
    table(
        folder / "mimic-cxr-2.0.0-split.csv.gz",
        ("dicom_id", "study_id", "subject_id", "split"),
        [(dicom, study, subject, split) for subject, study, dicom, split, _ in studies],
        packed=True,
    )
    table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", ("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows"),
          [(dicom, subject, study, view, 3056) for subject, study, dicom, _, view in studies], packed=True)  # fmt: skip
    texts = {"50414267": REPORT, "57375967": " FINDINGS: The lungs are clear.\n", "50771383": " WET READ: pending\n"}
    texts |= reports or {}
    for seed, (subject, study, dicom, _, _) in enumerate(studies):
        home = f"p{subject[:2]}/p{subject}"
        picture(folder / "files" / home / f"s{study}" / f"{dicom}.jpg", seed)
        report = folder / "mimic-cxr-reports" / "files" / home / f"s{study}.txt"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(texts[study])
    return folder


def medical_diff_vqa(folder):
    """PhysioNet's tables beside MIMIC-CXR-JPG; a reference that went through floats."""
    mimic_cxr(folder)
    header = ("subject_id", "study_id", *CHEXPERT, "dicom_id", "view", "split", "study_date", "study_order")
    gaps = ("",) * len(CHEXPERT)
    table(folder / "mimic_all.csv", header, [
        (10000032, 50414267, *gaps, "02aa804e", "postero-anterior", "train", 21800506, 1.0),
        (10000764, 57375967, *gaps, "096052b7", "antero-posterior", "test", 21800626, 1.0),
        (10000898, 50771383, *gaps, "2a280266", "antero-posterior", "train", 21800626, 1.0),
        (10000032, 50000001, *gaps, "174413ec", "postero-anterior", "train", 21800507, 2.0),
    ])  # fmt: skip
    picture(folder / "files/p10/p10000032/s50000001/174413ec.jpg", 9)
    table(folder / "mimic_pair_questions.csv",
          ("study_id", "subject_id", "ref_id", "question_type", "question", "answer", "split"), [
        (50414267, 10000032, "", "presence", "is there evidence of edema in this image?", "no", "train"),
        (50414267, 10000032, "", "location", "where in the image is the effusion located?", "left", "train"),
        (57375967, 10000764, "", "view", "which view is this image taken?", "ap view", "test"),
        (50000001, 10000032, "50414267.0", "difference", "what has changed compared to the reference image?",
         "the main image has an additional finding of edema.", "train"),
        (50771383, 10000898, "", "abnormality", "what abnormalities are seen in this image?", "edema", "val"),
    ])  # fmt: skip
    return folder


def volume(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def liver_mask(size=(32, 32, 12), lesion=True):
    """Liver 1 on slices 3 to 9, cancer 2 on 5 to 7."""
    mask = np.zeros(size, np.uint8)
    mask[6:26, 6:26, 3:10] = 1
    if lesion:
        mask[10:16, 10:16, 5:8] = 2
    return mask


def decathlon(folder, cases=2):
    """Task03_Liver as published: paths that begin with ./, labels by number as text."""
    training = []
    for number in range(cases):
        mask = liver_mask(lesion=number != 1)
        image = np.where(mask == 2, 20, np.where(mask == 1, 110, -50)).astype(np.int16) + number
        volume(folder / "imagesTr" / f"liver_{number}.nii.gz", image)
        volume(folder / "labelsTr" / f"liver_{number}.nii.gz", mask)
        training.append({"image": f"./imagesTr/liver_{number}.nii.gz", "label": f"./labelsTr/liver_{number}.nii.gz"})
    told = {
        "name": "Liver", "description": "Liver and cancer segmentation", "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "numTraining": cases, "numTest": 1, "training": training, "test": ["./imagesTs/liver_132.nii.gz"],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


def brats_mask(labels=(1, 2, 4)):
    mask = np.zeros((24, 24, 16), np.uint8)
    core, edema, enhancing = labels
    mask[4:18, 4:18, 4:12] = edema
    mask[8:14, 8:14, 6:10] = enhancing
    mask[9:12, 9:12, 7:9] = core
    return mask


def brats_case(folder, stem, joint="_", labels=(1, 2, 4), suffix=".nii.gz"):
    mask = brats_mask(labels)
    names = ("t1ce", "t1", "t2", "flair") if joint == "_" else ("t1c", "t1n", "t2w", "t2f")
    for seed, name in enumerate(names):
        brain = np.random.default_rng(seed).integers(1, 500, mask.shape).astype(np.int16) + mask * 100
        volume(folder / stem / f"{stem}{joint}{name}{suffix}", brain.astype(np.int16))
    volume(folder / stem / f"{stem}{joint}seg{suffix}", mask)
    return folder
