"""The subsets and means of the CXR ensemble, with networks whose answers are known."""

import numpy as np
import pytest
from bundles import study_of

from attending.experts import ExpertError, run_expert
from attending.experts.cxr import MODELS, SUBSETS, Cxr, ensemble, grey_levels
from attending.imaging import Image2D, Series, Window

DENSE = "densenet121-res224-"
ANSWERS = {
    name: 0.1 * (number + 1) for number, name in enumerate(MODELS)
}  # all 0.1, chex 0.2, ... rsna 0.7, resnet 0.8


def xray(array=None, modality="DX", body_part="CHEST", window=None):
    array = np.full((1, 8, 10), 128, np.uint8) if array is None else array
    image = Image2D(array, None, modality, "film", window)
    frames, rows, columns = array.shape[:3]
    return Series("film", "image", modality, (columns, rows, frames), None, lambda series: image, body_part=body_part)


def networks(classes=("Pneumothorax", "Lung Opacity", "Edema", "Fracture", "Hernia"), change=None):
    given = {name: dict.fromkeys(classes, value) for name, value in ANSWERS.items()}
    for name, answers in (change or {}).items():
        given[name] = given[name] | answers
    return {name: (lambda grey, answers=answers: answers) for name, answers in given.items()}


def test_each_class_is_the_mean_of_its_own_networks():
    scores, spread = ensemble({name: dict.fromkeys([*SUBSETS, "Hernia"], value) for name, value in ANSWERS.items()})
    assert scores["Pneumothorax"] == pytest.approx(0.8)  # the ResNet alone
    assert scores["Lung Opacity"] == scores["Hernia"] == pytest.approx(0.45)  # all eight
    four = (0.1 + 0.2 + 0.6 + 0.8) / 4  # all, chex, pc, ResNet
    for name in ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion"):
        assert scores[name] == pytest.approx(four)
    assert scores["Fracture"] == pytest.approx((0.1 + 0.5 + 0.2 + 0.8) / 4)  # all, nih, chex, ResNet
    assert spread["Fracture"] == pytest.approx((0.1, 0.8))


def test_the_eight_networks_are_those_of_the_reference():
    assert len(MODELS) == 8
    assert {name for subset in SUBSETS.values() for name in subset} <= set(MODELS)
    assert len(SUBSETS) == 8


def test_a_network_that_does_not_know_a_class_does_not_count_for_it():
    answers = {"a": {"Hernia": 0.2, "": 0.9}, "b": {"": 0.5}}
    scores, _ = ensemble(answers)
    assert scores == {"Hernia": 0.2}


@pytest.mark.parametrize("value", [float("nan"), 1.2, -0.1])
def test_a_probability_that_is_none_is_no_result(value):
    with pytest.raises(ExpertError, match="for Hernia"):
        ensemble({"a": {"Hernia": value}})


def test_a_missing_network_is_named():
    with pytest.raises(ExpertError, match="resnet50-res512-all are missing, on which Pneumothorax"):
        ensemble({"densenet121-res224-all": {"Pneumothorax": 0.5}})


def test_the_finding_keeps_all_probabilities_and_says_the_likely_ones():
    found = run_expert(Cxr(networks()), study_of(xray()))
    assert found.status == "done", found.text
    assert found.scores == pytest.approx(
        {"Pneumothorax": 0.8, "Lung Opacity": 0.45, "Edema": 0.425, "Fracture": 0.4, "Hernia": 0.45}
    )
    assert found.text == "Probabilities of 0.50 or more: Pneumothorax 0.80. All other 4 findings are below 0.50."
    assert found.measurements["Edema"] == pytest.approx({"lowest": 0.1, "highest": 0.8})
    assert found.record.settings["networks"] == list(MODELS)
    quiet = run_expert(Cxr(networks(("Hernia",))), study_of(xray()))
    assert quiet.text == "All 1 findings are below 0.50."


def test_a_network_that_answers_nonsense_has_failed():
    change = {"densenet121-res224-nih": {"Hernia": float("nan")}}
    found = run_expert(Cxr(networks(change=change)), study_of(xray()))
    assert (found.status, found.scores) == ("failed", {})


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (xray(modality="CT"), "examines DX or CR; the study holds: CT"),
        (xray(body_part="KNEE"), "the images are of: knee"),
        (xray(modality=None), "the study holds: unknown"),
    ],
)
def test_what_is_no_chest_radiograph_is_refused(series, says):
    found = run_expert(Cxr(networks()), study_of(series))
    assert found.status == "refused"
    assert says in found.text


def test_eight_bit_levels_go_to_the_range_of_the_networks_from_the_middle_square():
    array = np.zeros((1, 4, 8), np.uint8)
    array[0, :, 2:6] = 255
    grey = grey_levels(Image2D(array))
    assert grey.shape == (4, 4)
    assert (grey == 1024).all()
    assert grey_levels(Image2D(np.zeros((1, 6, 4), np.uint8))).tolist() == np.full((4, 4), -1024.0).tolist()
    colour = np.zeros((1, 4, 4, 3), np.uint8)
    colour[..., 0] = 255
    assert (grey_levels(Image2D(colour)) == 1024).all()


def test_twelve_bit_levels_go_through_the_window_of_the_file_or_from_least_to_greatest():
    array = np.linspace(0, 4095, 16).reshape(1, 4, 4).astype(np.uint16)
    grey = grey_levels(Image2D(array))
    assert (grey.min(), grey.max()) == pytest.approx((-1024, 1024))
    narrow = grey_levels(Image2D(array, window=Window(2048, 100)))
    assert set(np.unique(narrow)) == {-1024.0, 1024.0}
    assert np.isfinite(grey_levels(Image2D(np.full((1, 4, 4), 7, np.uint16)))).all()


def test_without_torchxrayvision_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("attending.experts.cxr.find_spec", lambda name: None)
    assert "attending[experts-cxr]" in Cxr().available()
    found = run_expert(Cxr(), study_of(xray()))
    assert found.status == "failed"
    assert "torchxrayvision is not installed" in found.text


def test_several_frames_are_told():
    found = run_expert(Cxr(networks()), study_of(xray(np.zeros((3, 6, 6), np.uint8))))
    assert any("3 frames; the first was examined" in warning for warning in found.warnings)


def test_a_network_of_torchxrayvision_is_asked_as_it_was_trained_and_hashed():
    import torch

    from attending.experts.cxr import Network

    class Model(torch.nn.Module):
        pathologies = ("Hernia", "", "Mass")

        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image):
            self.seen = image.shape
            return torch.stack([image.mean() / 2048 + 0.5, self.bias[0], self.bias[0]])[None]

    model = Model()
    network = Network(model, 224)
    assert network(np.full((50, 50), 1024, np.float32)) == pytest.approx({"Hernia": 1.0, "Mass": 0.0})
    assert model.seen == (1, 1, 224, 224)
    first = run_expert(Cxr({"one": network}), study_of(xray())).record.weights
    with torch.no_grad():
        model.bias += 0.25
    assert run_expert(Cxr({"one": network}), study_of(xray())).record.weights != first
