"""Labels from reports by rules: negation, uncertainty, families, places, grades, changes, contradictions."""

import pytest

from attending.evaluation.labels import CHEXPERT, chexpert, contradictions, facts
from attending.evaluation.metrics import METRICS, SCORERS, Row
from attending.evaluation.parse import found, invalid

REPORTS = [
    ("No evidence of pneumothorax.", {"Pneumothorax": 0}),
    ("There is a small left pleural effusion.", {"Pleural Effusion": 1}),
    (
        "No pleural effusion, pneumothorax or focal consolidation.",
        {"Pleural Effusion": 0, "Pneumothorax": 0, "Consolidation": 0},
    ),
    (
        "No focal consolidation, large pleural effusion, or pneumothorax is seen.",
        {"Pleural Effusion": None, "Pneumothorax": 0, "Consolidation": 0},
    ),
    ("No pneumothorax, but there is a left effusion.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
    ("No pneumothorax, the heart is enlarged.", {"Pneumothorax": 0, "Cardiomegaly": 1}),
    ("No pneumothorax and small left effusion.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
    ("No pneumothorax with a small effusion.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
    ("Neither effusion nor pneumothorax.", {"Pleural Effusion": 0, "Pneumothorax": 0}),
    ("Stable cardiomegaly without edema.", {"Cardiomegaly": 1, "Edema": 0}),
    ("The effusion has resolved.", {"Pleural Effusion": 0}),
    ("Pneumothorax is no longer seen.", {"Pneumothorax": 0}),
    ("Effusion: none.", {"Pleural Effusion": 0}),
    ("No change in the pleural effusion.", {"Pleural Effusion": 1}),
    ("No new consolidation.", {"Consolidation": None}),
    ("Possible pneumonia.", {"Pneumonia": -1}),
    ("Pneumonia cannot be excluded.", {"Pneumonia": -1}),
    ("Cannot exclude pneumonia.", {"Pneumonia": -1}),
    ("Opacity may represent atelectasis versus pneumonia.", {"Lung Opacity": 1, "Atelectasis": -1, "Pneumonia": -1}),
    ("Likely atelectasis at the left base.", {"Atelectasis": -1}),
    ("Left lower lobe consolidation.", {"Consolidation": 1, "Lung Opacity": 1}),
    ("The heart is mildly enlarged.", {"Cardiomegaly": 1, "Enlarged Cardiomediastinum": 1}),
    ("The heart is not enlarged.", {"Cardiomegaly": 0}),
    ("The heart size is normal.", {"Cardiomegaly": 0, "No Finding": 1}),
    ("The lungs are clear.", {"Lung Opacity": 0, "Consolidation": 0}),
    ("The bones are intact.", {"Fracture": 0}),
    ("Rib fractures on the right.", {"Fracture": 1}),
    ("Blunting of the left costophrenic angle.", {"Pleural Effusion": 1}),
    ("Pericardial effusion is present.", {"Pleural Effusion": None}),
    ("Hydropneumothorax on the left.", {"Pneumothorax": 1, "Pleural Effusion": 1}),
    ("Endotracheal tube in place. Lungs clear.", {"Support Devices": 1, "No Finding": 1}),
    ("The chest tube has been removed.", {"Support Devices": 0}),
    ("INDICATION: rule out pneumonia. FINDINGS: The lungs are clear.", {"Pneumonia": None, "No Finding": 1}),
    ("No effusion is seen, and the heart is enlarged.", {"Pleural Effusion": 0, "Cardiomegaly": 1}),
    ("", {"No Finding": None}),
]


@pytest.mark.parametrize(("report", "labels"), REPORTS)
def test_chexpert_labels(report, labels):
    found_labels = chexpert(report)
    assert tuple(found_labels) == CHEXPERT
    assert {label: found_labels[label] for label in labels} == labels


def test_without_families_a_child_says_nothing_of_its_parent():
    assert chexpert("Left lower lobe consolidation.", families=False)["Lung Opacity"] is None


def test_positive_outweighs_uncertain_outweighs_negative():
    assert chexpert("No edema. Possible edema.")["Edema"] == -1
    assert chexpert("Possible edema. No edema. Edema.")["Edema"] == 1


def test_places_grades_and_changes_belong_to_their_finding():
    first, second = facts("Small left pleural effusion and right lower lobe atelectasis, unchanged.")
    assert (first.places, first.grade, first.change) == ({"left"}, "mild", "")
    assert (second.places, second.grade, second.change) == ({"right", "lower"}, "", "stable")
    (only,) = facts("Mild to moderate bilateral effusions, increased.")
    assert (only.places, only.grade, only.change) == ({"left", "right"}, "moderate", "worse")


CONTRARY = {
    "No effusion. Small left effusion.": True,
    "The lungs are clear. There is left lower lobe consolidation.": True,
    "No left effusion. Small right effusion.": False,
    "No new effusion. Small left effusion.": False,
    "The effusion has resolved. Small left effusion.": False,
    "Possible effusion. No effusion.": False,
    "Edema. Pneumothorax.": False,
    "": False,
}


@pytest.mark.parametrize(("report", "contrary"), CONTRARY.items())
def test_contradictions_between_sentences(report, contrary):
    assert bool(contradictions(report)) == contrary
    assert SCORERS["consistency"](found(report), None) == (not contrary)


@pytest.mark.parametrize(
    ("name", "mine", "theirs", "score"),
    [
        ("chexpert_f1", "Edema.", "Edema and effusion.", 2 * 2 / (2 + 3)),  # edema is also a lung opacity
        ("finding_f1", "Edema.", "Edema and effusion.", 2 / 3),
        ("finding_f1", "No edema.", "No effusion.", 1),
        ("location_f1", "Left effusion.", "Right effusion.", 0),
        ("location_f1", "Bilateral effusions.", "Right effusion.", 2 / 3),
        ("severity_agreement", "Small effusion.", "Large effusion.", 0),
        ("severity_agreement", "Small effusion.", "Slight effusion.", 1),
        ("temporal_f1", "Effusion, unchanged.", "Stable effusion.", 1),
        ("temporal_f1", "Increased effusion.", "Decreased effusion.", 0),
        ("rouge_l", "no effusion", "no edema", 0.5),
        ("bleu_4", "there is no pleural effusion", "there is no pleural effusion", 1),
        ("meteor", "effusions", "edema", 0),
    ],
)
def test_report_scorers_by_hand(name, mine, theirs, score):
    assert SCORERS[name](found(mine), theirs) == pytest.approx(score, abs=1e-6)


def test_label_f1_over_a_corpus_by_hand():
    rows = [
        Row(found("Effusion."), "Effusion."),
        Row(found("Effusion."), "Fracture."),
        Row(invalid("empty"), "Fracture."),
    ]
    # effusion: 1 hit of 2 said and 1 true; fracture: 0 of 0 said and 2 true
    assert METRICS["chexpert_macro_f1"](rows) == pytest.approx((2 / 3 + 0) / 2)
    assert METRICS["chexpert_micro_f1"](rows) == pytest.approx(2 / 5)
    assert METRICS["chexpert_5_macro_f1"](rows) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["bleu_1", "bleu_4", "rouge_l", "meteor", "cider", "chexpert_macro_f1"])
def test_an_empty_report_pulls_every_corpus_metric_down(name):
    texts = [
        "There is a small left effusion.",
        "The heart is enlarged and there is edema.",
        "No acute fracture is seen.",
    ]
    whole = [Row(found(text), text) for text in texts]
    with_empty = [*whole[:2], Row(invalid("empty"), texts[2])]
    assert METRICS[name](with_empty) < METRICS[name](whole)
    assert METRICS[name]([Row(invalid("empty"), text) for text in texts]) == 0


@pytest.mark.slow
def test_phantom_reports_are_read_as_they_were_meant():
    phantom = pytest.importorskip("attending.phantom")
    names = {"lung nodule": "lung lesion", "effusion": "pleural effusion", "rib fracture": "fracture"}
    read = 0
    for seed in range(12):
        truth = phantom.generate("cxr", seed, shape=(128, 1, 128)).truth.to_dict()
        for sentence in truth["report"]["findings"]:
            kinds = [kind.removeprefix("no ") for kind in sentence["rests_on"] if kind.startswith("no ")]
            for kind in kinds:
                said = {(fact.finding, fact.status) for fact in facts(sentence["text"])}
                assert (names.get(kind, kind), "absent") in said, sentence["text"]
                read += 1
    assert read > 20
