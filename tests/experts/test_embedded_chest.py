"""CHEST, and other classifiers by a card: the film as training saw it, and probabilities as calibrated."""

import json
import math

import numpy as np
import pytest
import torch
from bundles import FINDINGS, embedded_bundles, series_of, study_of
from test_cxr import xray

from attending.errors import InputError
from attending.experts import embedded, read_card, run_expert
from attending.imaging import open_study


class Lamp(torch.nn.Module):
    """Gives set logits, and keeps what it was shown."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.logits, self.seen = torch.tensor([logits]), []

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        self.seen.append(film.clone())
        return self.logits


LOGITS = [2.0, -1.0, 0.0, 3.0, -3.0, 1.0, -2.0, 0.5]


def chest(folder, logits=LOGITS, **facts):
    expert = embedded(embedded_bundles(folder, **facts))[2]
    expert.network = Lamp(logits)
    return expert


def test_a_phantom_opened_from_its_dicom_is_seen_to_the_bit_as_in_training(tmp_path):
    from attending.phantom import generate
    from attending.phantom.dicom import write_series
    from attending.training.expert_cases import gather
    from attending.training.expert_recipe import ExpertRecipe, Volumes

    recipe = ExpertRecipe(
        name="chest", task="classification", modality="DX", network={}, labels=dict(enumerate(FINDINGS)),
        data=Volumes(phantom="cxr", count=1, styles=("B",)), patch=(48, 40),
        scale={"_target_": "ScaleIntensity", "minv": -1, "maxv": 1},
    )  # fmt: skip
    expert = chest(tmp_path / "b")
    (path,) = gather(recipe, recipe.data, tmp_path / "cases", lambda text: None)
    write_series(generate("cxr", 0, "B"), 0, "frontal", tmp_path / "dicom")
    found = run_expert(expert, open_study(tmp_path / "dicom"))
    assert found.status == "done", found.text
    with np.load(path) as file:
        trained = file["image"]
    seen = expert.network.seen[-1][0].numpy().astype(np.float16)  # as the cases are kept
    np.testing.assert_array_equal(seen, trained)


def test_probabilities_are_those_of_platts_line(tmp_path):
    lines = {"Edema": [0.5, -1.0], "Nodule": [2, 0]}
    found = run_expert(chest(tmp_path, calibration=lines), study_of(xray()))
    assert found.status == "done", found.text
    assert list(found.scores) == list(FINDINGS)
    for name, logit in zip(FINDINGS, LOGITS, strict=True):
        slope, offset = lines.get(name, (1, 0))
        assert found.scores[name] == pytest.approx(1 / (1 + math.exp(-(slope * logit + offset))), abs=1e-12)
    assert found.text == (
        "Probabilities of 0.50 or more: Atelectasis 0.88, Fracture 0.73, Edema 0.62, Pneumothorax 0.62, "
        "Consolidation 0.50. All other 3 findings are below 0.50."
    )
    assert found.record.settings == {"size": [48, 40], "calibrated": True}
    assert len(found.record.weights) == 64


def test_logits_beyond_all_bounds_are_still_probabilities(tmp_path):
    scores = run_expert(chest(tmp_path, [1e30, -1e30, *[0.0] * 6]), study_of(xray())).scores
    assert scores["Atelectasis"] == 1
    assert 0 <= scores["Cardiomegaly"] < 1e-300


@pytest.mark.parametrize("logits", [[math.nan, *[0.0] * 7], [math.inf, *[0.0] * 7], [0.0] * 7, [0.0] * 9])
def test_what_is_no_number_for_each_finding_is_no_result(tmp_path, logits):
    found = run_expert(chest(tmp_path, logits), study_of(xray()))
    assert (found.status, found.scores) == ("failed", {})
    assert "a number for each of its 8 findings" in found.text


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"input_size": None}, "input_size"),
        ({"input_size": [48]}, "input_size"),
        ({"input_size": [48, 100_000]}, "input_size"),
        ({"calibration": {"Hernia": [1, 0]}}, "calibration"),
        ({"calibration": [1, 0]}, "calibration"),
        ({"calibration": {"Edema": [1, None]}}, "calibration.Edema"),
        ({"calibration": {"Edema": [float("nan"), 0]}}, "calibration.Edema"),
        ({"network_data_format": {}}, "network_data_format"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path, facts, field):
    expert = chest(tmp_path, **facts)
    with pytest.raises(InputError) as caught:
        expert.scores(xray().image)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.field.startswith(field)
    assert run_expert(expert, study_of(xray())).status == "failed"


def test_grey_levels_of_other_films(tmp_path):
    expert = chest(tmp_path)
    rng = np.random.default_rng(0)
    shape = (1, 96, 80)  # twice the network's size
    eight = rng.integers(10, 245, shape).astype(np.uint8)
    run_expert(expert, study_of(xray(eight)))
    run_expert(expert, study_of(xray(np.repeat(eight[..., None], 3, -1))))
    grey, colour = expert.network.seen
    torch.testing.assert_close(grey, colour)
    assert grey.shape == (1, 1, 48, 40)
    assert (grey.min(), grey.max()) == (-1, 1)
    deep = eight.astype(np.uint16) * 16 + 100
    run_expert(expert, study_of(xray(deep)))
    assert (expert.network.seen[-1] - grey).abs().max() < 0.05  # the same film in 12 bit
    bright = deep.copy()
    bright[0, 0, 0] = 65535  # a dead pixel moves nothing but itself
    run_expert(expert, study_of(xray(bright)))
    assert (expert.network.seen[-1] - grey)[..., 2:, 2:].abs().max() < 0.05


def test_a_film_is_seen_whole_whatever_its_shape(tmp_path):
    expert = chest(tmp_path)
    film = np.zeros((1, 96, 200), np.uint8)
    film[:, :, 150:] = 200  # beyond the middle square
    run_expert(expert, study_of(xray(film)))
    row = expert.network.seen[0][0, 0, 20]
    assert row[-1] == 1
    assert row[0] == -1


@pytest.mark.parametrize("array", [np.full((1, 9, 9), 7, np.uint16), np.zeros((3, 64, 64), np.uint8)])
def test_an_empty_film_gives_probabilities_too(tmp_path, array):
    found = run_expert(embedded(embedded_bundles(tmp_path))[2], study_of(xray(array)))
    assert found.status == "done", found.text
    assert any("3 frames" in warning for warning in found.warnings) == (len(array) == 3)


def test_a_ct_is_no_radiograph(tmp_path):
    study = study_of(series_of(np.zeros((8, 8, 8), np.int16), np.eye(4)))
    assert "examines DX or CR" in run_expert(chest(tmp_path), study).text


CARD = """
kind: monai-classifier
name: FILMS
modality: [DX, CR]
overview: own findings
folder: bundles/chest
"""


def test_a_bundle_of_ones_own_is_an_expert_by_its_card(tmp_path):
    embedded_bundles(tmp_path / "bundles")
    (tmp_path / "films.yaml").write_text(CARD)
    expert = read_card(tmp_path / "films.yaml")
    assert expert.card.task == "classification"
    assert expert.available() is None
    found = run_expert(expert, study_of(xray()))
    assert found.status == "done", found.text
    assert found.record.expert == "FILMS"
    own = run_expert(embedded(tmp_path / "bundles")[2], study_of(xray()))
    assert found.scores == own.scores
    assert set(found.scores) == set(FINDINGS)
    (tmp_path / "films.yaml").write_text(CARD.replace("bundles/chest", "gone"))
    assert "no bundle at" in read_card(tmp_path / "films.yaml").available()
    (tmp_path / "films.yaml").write_text(CARD.replace("folder: bundles/chest", ""))
    with pytest.raises(InputError) as caught:
        read_card(tmp_path / "films.yaml")
    assert caught.value.field == "folder"


def test_a_bundle_without_a_hash_is_taken_as_it_is(tmp_path):
    expert = chest(tmp_path)
    path = expert.folder / "configs" / "metadata.json"
    facts = json.loads(path.read_text())
    del facts["weights_sha256"]
    path.write_text(json.dumps(facts))
    assert embedded(tmp_path)[2].available() is None
