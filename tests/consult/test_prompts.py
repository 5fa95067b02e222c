"""The prompts of published checkpoints, byte for byte as the reference writes them."""

import json

import numpy as np
import pytest
from bundles import oblique
from scripted import Scripted, brats, ct, cxr, cxr_expert, liver, mri, vista3d

from attending.consult import Attending, Published, Tools, Turn
from attending.consult.published import cards_text, scores_text
from attending.experts import ExpertCard
from attending.experts.brats import Brats
from attending.experts.cxr import Cxr
from attending.experts.vista3d import Vista3D
from attending.imaging import reference_overlay, reference_picture

CARDS = (
    "Here is a list of available expert models:\n"
    "<BRATS(args)> Modality: MRI, Task: segmentation, Overview: A pre-trained model for volumetric (3D) segmentation "
    "of brain tumor subregions from multimodal MRIs based on BraTS 2018 data, Accuracy: Tumor core (TC): 0.8559 - "
    "Whole tumor (WT): 0.9026 - Enhancing tumor (ET): 0.7905 - Average: 0.8518, Valid args are: None\n"
    "<VISTA3D(args)> Modality: CT, Task: segmentation, Overview: domain-specialized interactive foundation model "
    "developed for segmenting and annotating human anatomies with precision, Accuracy: 127 organs: 0.792 Dice on "
    "average, Valid args are: 'everything', 'hepatic tumor', 'pancreatic tumor', 'lung tumor', 'bone lesion', "
    "'organs', 'cardiovascular', 'gastrointestinal', 'skeleton', or 'muscles'\n"
    "<VISTA2D(args)> Modality: cell imaging, Task: segmentation, Overview: model for cell segmentation, which was "
    "trained on a variety of cell imaging outputs, including brightfield, phase-contrast, fluorescence, confocal, or "
    "electron microscopy, Accuracy: Good accuracy across several cell imaging datasets, Valid args are: None\n"
    "<CXR(args)> Modality: chest x-ray (CXR), Task: classification, Overview: pre-trained model which are trained on "
    "large cohorts of data, Accuracy: Good accuracy across several diverse chest x-rays datasets, Valid args are: "
    "None\nGive the model <NAME(args)> when selecting a suitable expert model.\n"
)
ALL = [vista3d(), brats(), cxr_expert()]


def consulted(model, study, question, experts=ALL, **how):
    return Attending(model, experts, **how).ask(study, question)


def test_a_ct_question_and_its_result():
    model = Scripted("This looks like a CT image. Let me trigger <VISTA3D(hepatic tumor)>. ", "yes")
    consulted(model, ct(), "Is there a tumor?")
    first, second = model.asked
    assert first[0] == [{"role": "user", "content": f"{CARDS}<image>This is a CT image.\nIs there a tumor?"}]
    assert second[0][1:] == [
        {"role": "assistant", "content": "This looks like a CT image. Let me trigger <VISTA3D(hepatic tumor)>."},
        {
            "role": "user",
            "content": "The results are <image>. The colors in this image describe red: liver, blue: hepatic tumor. "
            "Use this result to respond to this prompt:\nIs there a tumor?",
        },
    ]
    volume = ct().series[0].volume
    labels = np.flatnonzero((liver(oblique()) == 26).any((0, 1)))
    assert first[1][0].digest == reference_picture(volume).digest
    shown = second[1][1]
    assert shown.index in labels  # on the slices that hold the tumour, not the middle one of the liver
    assert shown.index == 8


def test_the_overlay_is_the_references():
    model = Scripted("<VISTA3D(hepatic tumor)>", "yes")
    answer = consulted(model, ct(), "Is there a tumor?")
    finding = answer.findings[0]
    expected, colors = reference_overlay(ct().series[0].volume, finding.segmentation.labels, 8)
    assert model.asked[1][1][1].digest == expected.digest
    assert colors == {1: "red", 26: "blue"}


def test_four_sequences_and_their_result():
    model = Scripted("This looks like an MRI image sequence. Let me first trigger <BRATS()>.", "Glioma.")
    consulted(model, mri(), "What do you see?")
    first, second = model.asked
    assert first[0][0]["content"] == (
        f"{CARDS}T1(contrast enhanced): <image>, T1: <image>, T2: <image>, FLAIR: <image> These are different MRI "
        "modalities.\nWhat do you see?"
    )
    assert [picture.series for picture in first[1]] == ["t1ce", "t1", "t2", "flair"]
    assert second[0][2]["content"] == (
        "The results are <image>. The colors in this image describe\nred and yellow: tumor core, only yellow: "
        "enhancing tumor, all colors: whole tumor\nUse this result to respond to this prompt:\nWhat do you see?"
    )


def test_a_chest_radiograph_and_its_result():
    model = Scripted("This looks like an chest x-ray. Let me first trigger <CXR()>.", "There is an effusion.")
    consulted(model, cxr(), "Describe the image in detail.")
    first, second = model.asked
    assert first[0][0]["content"] == f"{CARDS}<image>This is a CXR image.\nDescribe the image in detail."
    assert second[0][2]["content"] == (
        "The resulting predictions are:\neffusion: yes\npleural thickening: no\npneumonia: yes\n."
        "Use this result to respond to this prompt:\nDescribe the image in detail."
    )
    assert len(second[1]) == 1


def test_segmented_ends_the_consultation_and_the_next_question_comes_bare():
    model = Scripted("I segmented the liver using <VISTA3D(organs)>.", "Yes.")
    talk = Attending(model, ALL).chat(ct())
    answer = talk.ask("Segment the liver")
    assert (len(model.asked), answer.status) == (1, "answered")
    assert answer.text == "I segmented the liver using VISTA3D(organs)."
    talk.ask("Is it large?")
    messages = model.asked[1][0]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "user"]
    assert messages[2]["content"].endswith("red: liver, blue: hepatic tumor. ")
    assert messages[3]["content"] == "Is it large?"


def test_a_question_without_images_is_bare():
    model = Scripted("Hello.")
    answer = consulted(model, None, "What can you do?")
    assert model.asked[0] == ([{"role": "user", "content": "What can you do?"}], [])
    assert answer.study is None


def test_an_unknown_modality_gives_no_sentence_and_a_study_without_experts_no_cards():
    model = Scripted("Yes.")
    consulted(model, ct(modality=None), "Is it?", [])
    assert model.last == "<image>Is it?"
    consulted(model, ct(), "Is it?", [])
    assert model.last == "<image>This is a CT image.\nIs it?"


def test_the_users_own_place_for_the_picture_is_kept_and_not_repeated():
    model = Scripted("<VISTA3D(organs)>", "Yes.")
    consulted(model, ct(), "Look: <image> Is it large?")
    assert model.asked[0][0][0]["content"] == f"{CARDS}This is a CT image.\nLook: <image> Is it large?"
    assert model.last.endswith("prompt:\nLook:  Is it large?")


def test_only_what_is_on_offer_is_told_and_other_experts_come_after_the_published_ones():
    assert "VISTA2D" not in cards_text([Vista3D().card])
    assert cards_text([]) == ""
    own = ExpertCard("MINE", ("CT", "MR"), (), "segmentation", "mine", "good", {"what": ("a",), "side": ("l", "r")})
    lines = cards_text([own, Cxr().card, Vista3D().card, Brats().card]).splitlines()
    assert [line[1:5] for line in lines[1:-1]] == ["BRAT", "VIST", "VIST", "CXR(", "MINE"]
    assert lines[5] == (
        "<MINE(args)> Modality: CT or MRI, Task: segmentation, Overview: mine, Accuracy: good, "
        "Valid args are: what='a'; side='l', or 'r'"
    )


def test_a_probability_of_one_half_is_a_yes():
    assert scores_text({"B_c": 0.5, "A": 0.4999}) == "The resulting predictions are:\na: no\nb c: yes\n."


def test_an_overlay_without_labels_says_so_in_the_references_words():
    model = Scripted("<VISTA3D(hepatic tumor)>", "no")
    nothing = vista3d(lambda affine: np.zeros((40, 36, 12), np.uint8))
    consulted(model, ct(), "Is there a tumor?", [nothing])
    assert model.last.startswith("The results are <image>. The colors in this image describe . Use this result")


def test_tools_are_told_as_json_and_results_keep_numbers_and_probabilities():
    call = '<tool_call>{"name": "VISTA3D", "arguments": {"structures": "hepatic tumor"}}</tool_call>'
    model = Scripted(call, "It is 10 mm.", name="qwen")
    answer = consulted(model, ct(), "How large is the tumor?")
    system, user = model.asked[0][0]
    assert system["role"] == "system"
    lines = system["content"].splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert [card["name"] for card in told] == ["VISTA3D", "BRATS", "CXR"]
    assert "hepatic tumor" in told[0]["arguments"]["structures"]
    assert user["content"] == "<image><image><image>\nCT axial slices.\nHow large is the tumor?"
    result = model.last
    assert result.startswith("<tool_response>")
    assert result.endswith("</tool_response><image>")
    found = json.loads(result.removeprefix("<tool_response>").removesuffix("</tool_response><image>"))
    assert found["status"] == "done"
    tumor = found["found"]["hepatic tumor"]
    measured = answer.findings[0].measurements["hepatic tumor"]
    assert tumor["volume_ml"] == pytest.approx(measured["volume_ml"], rel=5e-3)
    assert tumor["side"] == measured["side"]
    assert tumor["inside"] == "liver"
    assert found["not_found"] == []


def test_tools_keep_roles_in_turn_whatever_happened():
    codec = Tools()
    turns = [Turn("system", "Be brief."), Turn("user", "a"), Turn("user", "b"), Turn("assistant", " c ")]
    messages, _ = codec.messages(turns)
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"].endswith("Be brief.")
    assert messages[1]["content"] == "a\nb"
    assert messages[2]["content"] == "c"


def test_probabilities_reach_a_model_that_takes_tools():
    model = Scripted('<tool_call>{"name": "CXR"}</tool_call>', "Likely.", name="qwen")
    consulted(model, cxr(), "Is there an effusion?", [cxr_expert(Effusion=0.912, Mass=0.08)])
    assert '"probabilities": {"Effusion": 0.91, "Mass": 0.08}' in model.last


def test_the_codec_can_be_chosen():
    model = Scripted("Yes.", name="some-model")
    consulted(model, ct(), "Is it?", codec=Published())
    assert model.asked[0][0][0]["content"].startswith(CARDS)
