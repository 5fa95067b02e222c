"""Claims of an answer against the findings: what contradicts one or rests on none is flagged."""

import numpy as np
import pytest
from bundles import ball
from scripted import SHAPE, Scripted, brats, ct, cxr, cxr_expert, liver, mri, vista3d

from attending.consult import Attending, check
from attending.consult.terms import canonical, pathologies
from attending.experts import Finding, Record, run_expert
from attending.experts.finding import Segmentation
from attending.imaging import Volume

SEEN = run_expert(vista3d(), ct(), {"structures": "hepatic tumor"})
CLEAN = run_expert(vista3d(lambda affine: liver(affine, tumor=False)), ct(), {"structures": "hepatic tumor"})
CHEST = run_expert(cxr_expert(Effusion=0.91, Pneumothorax=0.08, Lung_Opacity=0.55), cxr())
BRAIN = run_expert(brats(), mri())
FAILED = Finding("failed", "VISTA3D: it broke", Record("VISTA3D"))
FACTS = SEEN.measurements["hepatic tumor"]
LONGEST, ACROSS, VOLUME = (
    FACTS[key] for key in ("longest_axial_diameter_mm", "perpendicular_diameter_mm", "volume_ml")
)
SIDE = FACTS["side"]
OTHER = {"left": "right", "right": "left"}[SIDE]


def judged(answer, *findings, question="Is there a liver lesion, and how large is it?"):
    return [(one.kind, one.verdict) for one in check(answer, question, findings, ["VISTA3D", "CXR", "BRATS"])]


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "Yes, there is a liver lesion.",
        "There is a hepatic tumour.",
        "A lesion in the liver is present.",
        f"The lesion measures {LONGEST:.0f} mm.",
        f"There is a liver tumor of {LONGEST / 10:.1f} x {ACROSS / 10:.1f} cm.",
        f"Its volume is {VOLUME:.1f} mL, and the longest diameter is {LONGEST:.0f} mm.",
        "There is one liver lesion.",
        "A single hepatic mass is seen.",
        f"There is a liver tumor on the {SIDE}.",
        "VISTA3D found a liver lesion.",
    ],
)
def test_what_the_finding_bears_out_is_supported(answer):
    found = judged(answer, SEEN)
    assert found
    assert {verdict for _, verdict in found} == {"supported"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("No.", "absence"),
        ("No, there is none.", "absence"),
        ("There is no liver lesion.", "absence"),
        ("The liver is free of tumor.", "absence"),
        ("No evidence of hepatic masses.", "absence"),
        ("Without focal liver lesions; otherwise normal.", "absence"),
        ("The hepatic tumor measures 55 mm.", "size"),
        ("Yes, it is 5.5 cm in size.", "size"),
        ("The tumor has a volume of 900 mL.", "size"),
        ("There are three liver lesions.", "count"),
        ("There are 4 separate hepatic tumors.", "count"),
        (f"There is a liver tumor on the {OTHER}.", "side"),
        ("Bilateral liver tumors are seen.", "side"),
    ],
)
def test_what_contradicts_the_finding_is_flagged(answer, kind):
    assert (kind, "contradicted") in judged(answer, SEEN)


@pytest.mark.parametrize("answer", ["Yes.", "There is a liver lesion.", "Yes, a hepatic tumor in the right lobe."])
def test_a_lesion_that_the_expert_looked_for_in_vain_is_flagged(answer):
    assert ("presence", "contradicted") in judged(answer, CLEAN)
    assert ("absence", "supported") in judged("No liver lesion is seen.", CLEAN)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("There is a liver lesion.", "presence"),
        ("No liver lesion.", "absence"),
        ("The lesion is 23 mm.", "size"),
        ("VISTA3D shows a clear picture.", "result"),
        ("I segmented the liver.", "result"),
    ],
)
@pytest.mark.parametrize("findings", [[], [FAILED]])
def test_what_rests_on_no_result_is_flagged(answer, kind, findings):
    assert (kind, "unsupported") in judged(answer, *findings)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The expert VISTA3D could not examine the study.",
        "VISTA3D failed, so I cannot say whether there is a liver lesion.",
        "A liver lesion cannot be excluded.",
        "There may be a liver lesion.",
        "Is there a liver lesion?",
        "This is a CT of the abdomen.",
        "The slices were taken in 2024 with 120 kV.",
        "It is unclear if there is a tumor.",
    ],
)
def test_what_is_no_claim_is_not_flagged(answer):
    assert judged(answer, FAILED) == []


def test_a_verdict_after_a_probability_is_a_claim_of_its_own():
    right, wrong = "CXR gives pneumothorax 8%, so no.", "CXR gives pneumothorax 8%, so yes."
    assert {verdict for _, verdict in judged(right, CHEST, question="?")} == {"supported"}
    assert ("presence", "contradicted") in judged(wrong, CHEST, question="?")


def test_an_expert_that_is_said_to_find_nothing_is_held_to_its_own_findings():
    quiet = run_expert(cxr_expert(Effusion=0.02, Pneumothorax=0.08), cxr())
    said = "VISTA3D found a liver lesion. CXR finds nothing likely."

    def absences(*findings, answer=said):
        return [
            one.verdict
            for one in check(answer, "Give me a report.", findings, ["VISTA3D", "CXR"])
            if one.kind == "absence"
        ]

    assert absences(SEEN, CHEST) == ["contradicted"]
    assert absences(SEEN, quiet) == ["supported"]
    assert absences(FAILED, answer="VISTA3D found nothing.") == ["unsupported"]
    assert absences(SEEN, answer="VISTA3D found nothing else.") == []
    assert absences(CHEST, answer="CXR finds nothing? I would ask again if CXR finds nothing.") == []


def test_what_is_found_with_a_small_probability_is_not_found():
    assert ("presence", "contradicted") in judged("CXR finds pneumothorax (8%).", CHEST, question="Report.")
    assert {verdict for _, verdict in judged("CXR found no pneumothorax (8%).", CHEST, question="Report.")} == {
        "supported"
    }
    assert ("presence", "contradicted") not in judged("CXR gives pneumothorax 8%.", CHEST, question="Report.")


def test_probabilities_decide_what_a_classifier_says():
    said = judged("There is a pleural effusion. No pneumothorax.", CHEST, question="Describe the image.")
    assert said == [("presence", "supported"), ("absence", "supported")]
    said = judged("There is a large pneumothorax but no pleural effusion.", CHEST, question="Describe the image.")
    assert said == [("presence", "contradicted"), ("absence", "contradicted")]
    (flag,) = check("There is a pneumothorax.", "Describe.", [CHEST], [])
    assert flag.detail == "CXR gives pneumothorax a probability of 0.08"
    assert judged("The heart is normal with cardiomegaly.", CHEST, question="?") == [("presence", "unsupported")]


def test_a_brain_tumor_is_judged_by_its_parts():
    assert judged("There is peritumoral oedema.", BRAIN, question="Describe.") == [("presence", "supported")]
    assert judged("No enhancing tumor.", BRAIN, question="Describe.") == [("absence", "contradicted")]


def test_an_organs_size_is_checked_and_its_mention_is_no_claim_of_a_lesion():
    volume = SEEN.measurements["liver"]["volume_ml"]
    assert judged(f"The liver has a volume of {volume:.1f} mL.", SEEN) == [("size", "supported")]
    assert judged("The liver has a volume of 2000 mL.", SEEN) == [("size", "contradicted")]
    assert judged("The liver is seen.", SEEN) == []


def test_two_experts_that_disagree_flag_an_absence():
    assert ("absence", "contradicted") in judged("There is no liver lesion.", CLEAN, SEEN)


def test_each_of_several_lesions_may_be_spoken_of():
    def two(affine):
        labels = np.zeros(SHAPE, np.uint8)
        labels[ball(affine, SHAPE, (10, 18, 6), 8) > 0] = 26
        labels[ball(affine, SHAPE, (31, 18, 6), 5) > 0] = 26
        return labels

    found = run_expert(vista3d(two), ct(), {"structures": "hepatic tumor"})
    parts = found.measurements["hepatic tumor"]["largest_components"]
    assert sorted(part["side"] for part in parts) == ["left", "right"]
    for part in parts:
        said = judged(f"A liver lesion of {part['longest_axial_diameter_mm']:.0f} mm.", found, question="Describe.")
        assert said == [("presence", "supported"), ("size", "supported")]
    assert ("side", "supported") in judged("There are two liver lesions, left and right.", found)
    assert ("count", "supported") in judged("There are two liver lesions, left and right.", found)
    assert ("side", "supported") in judged("There is a liver lesion on the left.", found)
    assert ("count", "contradicted") in judged("There are three liver lesions.", found)


def test_negation_reaches_to_the_end_of_its_clause_and_no_further():
    said = check("There is no pneumothorax but a pleural effusion.", "Describe.", [CHEST], [])
    assert [(one.kind, one.subject, one.verdict) for one in said] == [
        ("absence", "Pneumothorax", "supported"),
        ("presence", "Effusion", "supported"),
    ]


def test_a_lying_answer_is_flagged_and_an_honest_one_is_not():
    """The model answers against what the expert found."""

    def ask(reply):
        return Attending(Scripted("<VISTA3D(hepatic tumor)>", reply), [vista3d()]).ask(ct(), "Is there a liver tumor?")

    assert ask(f"Yes, of {LONGEST:.0f} mm.").flags == []
    (flag,) = ask("No liver tumor is seen.").flags
    assert (flag.verdict, flag.subject, flag.expert) == ("contradicted", "hepatic tumor", "VISTA3D")
    assert flag.detail == f"VISTA3D found {VOLUME:.1f} mL of hepatic tumor"


def test_an_expert_that_lies_about_what_it_found_is_believed_no_further_than_its_mask():
    """Its text says one thing, its mask another: the mask counts, and the answer that follows the text is flagged."""
    from dataclasses import replace

    from attending.experts import run_expert as run

    def lie(expert, study, arguments=None, **how):
        return replace(run(expert, study, arguments, **how), text="There are 9 hepatic tumors of 99 mm.")

    model = Scripted("<VISTA3D(hepatic tumor)>", "There are 9 hepatic tumors of 99 mm.")
    answer = Attending(model, [vista3d()], run=lie).ask(ct(), "Is there a liver tumor?")
    assert {flag.kind for flag in answer.flags} == {"size", "count"}
    assert "99" not in model.last


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Liver lesions", "hepatic tumor"),
        ("tumours of the LIVER", "hepatic tumor"),
        ("a mass in the right kidney", "a kidney mass right"),
        ("Pleural_Effusion", "effusion"),
        ("enlarged heart", "cardiomegaly"),
    ],
)
def test_one_name_for_each_thing(text, expected):
    assert canonical(text).strip() == expected


def test_pathologies_come_in_order_and_once():
    assert pathologies("Effusion, a lung nodule and pleural fluid") == ["effusion", "lung tumor"]


@pytest.mark.parametrize(
    "text", ["no " * 40_000, "1 x " * 30_000, "a" * 100_000, "lesion " * 15_000, "9" * 100_000 + " mm"]
)
def test_a_hostile_answer_is_checked_to_its_end(text):
    check(text, text, [SEEN, CHEST], ["VISTA3D"])


class TestWhatNanoSays:
    """Each kind of answer of attending-nano, true and false, on findings made by hand."""

    TORSO = Finding(
        "done", "", Record("TORSO"),
        Segmentation(
            Volume(np.full((1, 1, 1), 1, np.uint8), np.eye(4)),
            {1: "liver", 2: "right kidney", 8: "liver lesion", 9: "lung nodule"},
        ),
        {"liver": {"volume_ml": 1312.0}, "right kidney": {"volume_ml": 158.0},
         "liver lesion": {"volume_ml": 12.3, "longest_axial_diameter_mm": 33.6, "components": 1, "side": "left"}},
    )  # fmt: skip
    CHEST = Finding("done", "", Record("CHEST"), scores={"Nodule": 0.21, "Effusion": 0.93})

    @pytest.mark.parametrize(
        ("answer", "wrong"),
        [
            ("TORSO measured liver 1310 mL, right kidney 158 mL.", "TORSO measured liver 158 mL, right kidney 158 mL."),
            ("liver lesion: yes; lung nodule: no.", "liver lesion: no; lung nodule: no."),
            ("TORSO found 0 lung nodules.", "TORSO found 0 liver lesions."),
            ("TORSO found 1 liver lesion.", "TORSO found 2 liver lesions."),
            ("TORSO found liver lesion (12 mL).", "TORSO found liver lesion (21 mL)."),
            ("No. CHEST gives nodule 21%.", "Yes. CHEST gives nodule 21%."),
            ("No. CHEST gives nodule 21%.", "No. CHEST gives nodule 12%."),
            ("CHEST finds effusion (93%).", "CHEST finds effusion (39%)."),
            ("The probability of an effusion is 93 %.", "The probability of an effusion is 50 %."),
        ],
    )
    def test_the_true_one_is_supported_and_the_false_one_contradicted(self, answer, wrong):
        question = "Is there a lung nodule?"

        def verdicts(text):
            return {one.verdict for one in check(text, question, (self.CHEST, self.TORSO), ["TORSO", "CHEST", "BRAIN"])}

        if not answer.startswith("No."):
            question = "Report."
        assert verdicts(answer) == {"supported"}
        assert "contradicted" in verdicts(wrong)

    @pytest.mark.parametrize("text", ["This study does not show the brain.", "The chest and abdomen."])
    def test_a_word_that_is_also_an_expert_s_name_speaks_of_no_result(self, text):
        assert not check(text, "", (), ["TORSO", "BRAIN", "CHEST"])

    def test_an_expert_named_without_a_result_is_flagged(self):
        (told,) = check("BRAIN is clear.", "", (), ["BRAIN"])
        assert told.verdict == "unsupported"
