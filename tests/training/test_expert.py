"""Experts: networks learn, bundles are loaded by the experts' own code, and give what was trained."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from toys import picture

from attending.errors import InputError
from attending.experts import run_expert
from attending.experts.bundle import read_bundle
from attending.experts.classifier import pooled
from attending.experts.registry import read_card
from attending.imaging import open_study
from attending.phantom import seeds_of
from attending.training.data import DataError
from attending.training.expert import Examination, calibration, train_expert
from attending.training.expert_recipe import ExpertRecipe, Volumes
from attending.training.fields import build
from attending.training.logs import read_log
from attending.training.parallel import join

SEGMENT: dict[str, Any] = {
    "name": "toy-ball", "task": "segmentation", "modality": "CT", "labels": {1: "liver", 2: "hepatic tumor"},
    "network": {"_target_": "SegResNet", "init_filters": 8, "out_channels": 3, "blocks_down": [1, 1], "blocks_up": [1]},
    "merge": {1: [1], 2: [2, 3]}, "patch": [16, 16, 16], "spacing": [2, 2, 2],
    "scale": {"_target_": "ScaleIntensityRange", "a_min": -200, "a_max": 200, "b_min": -1, "b_max": 1, "clip": True},
    "rate": 2e-2, "steps": 40, "batch": 4, "warmup": 0.1, "dtype": "float32", "evaluate_every": 20, "save_every": 15,
}  # fmt: skip


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball with a brighter core; its labels are 1, and 2 or 3."""
    draw = np.random.default_rng(seed)
    away = np.linalg.norm(np.moveaxis(np.indices((24, 24, 20)), 0, -1) - draw.uniform(9, 13, 3), axis=-1)
    labels = (away < 7).astype(np.uint8) + (away < 3.5) * (1 + seed % 2)
    image = draw.normal(-100, 10, away.shape) + 100 * (away < 7) + 100 * (away < 3.5)
    return image.astype(np.int16), labels.astype(np.uint8)


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Task99_Ball")
    rows = []
    for number in range(6):
        for kind, array in zip(("imagesTr", "labelsTr"), case(number), strict=True):
            (folder / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), folder / kind / f"b{number}.nii.gz")
        rows.append({"image": f"./imagesTr/b{number}.nii.gz", "label": f"./labelsTr/b{number}.nii.gz"})
    (folder / "dataset.json").write_text(json.dumps({"name": "Ball", "training": rows}))
    return folder


def attempt(table: dict[str, Any], out: Path, stop: int = 0) -> Path:
    def tick(told: Any) -> None:
        if told.step == stop:
            raise KeyboardInterrupt

    return train_expert(build(ExpertRecipe, table), out, tick, lambda text: None)


def test_a_segmentation_expert_learns_and_is_loaded_as_an_expert(decathlon: Path, tmp_path: Path) -> None:
    table = SEGMENT | {
        "data": {"decathlon": str(decathlon), "count": 5},
        "held_out": {"decathlon": str(decathlon), "first": 5},
    }
    folder = attempt(table, tmp_path / "out")
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["held_out"] < 0.6
    expert = read_card(tmp_path / "out" / "toy_ball.yaml")
    assert expert.available() is None
    finding = run_expert(expert, open_study(decathlon / "imagesTr" / "b5.nii.gz", modality="CT"), {})
    assert finding.status == "done", finding.text
    truth = case(5)[1]
    found = finding.segmentation.labels.array
    for label, wanted in ((1, truth == 1), (2, truth >= 2)):
        overlap = 2 * ((found == label) & wanted).sum() / ((found == label).sum() + wanted.sum())
        assert overlap > 0.8, (label, overlap)
    assert "hepatic tumor" in finding.text
    assert not list((tmp_path / "out" / "training").iterdir()), "checkpoints are gone when the bundle is there"
    assert read_bundle(folder).weights_file.suffix == ".safetensors"


def test_an_experts_training_goes_on_to_the_bit(decathlon: Path, tmp_path: Path) -> None:
    table = SEGMENT | {"data": {"decathlon": str(decathlon)}, "steps": 6, "save_every": 2}
    whole = attempt(table, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        attempt(table, tmp_path / "cut", stop=5)
    cut = attempt(table, tmp_path / "cut")
    assert (whole / "models/model.safetensors").read_bytes() == (cut / "models/model.safetensors").read_bytes()


def test_training_goes_on_from_a_bundle_and_refuses_another_network(decathlon: Path, tmp_path: Path) -> None:
    data = {"data": {"decathlon": str(decathlon)}}
    first = attempt({**SEGMENT, **data, "steps": 2}, tmp_path / "first")
    again = attempt({**SEGMENT, **data, "steps": 1, "rate": 1e-9, "start": str(first)}, tmp_path / "again")
    one, other = (read_bundle(folder).network().state_dict() for folder in (first, again))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=0)
    wider = {**SEGMENT, **data, "network": {**SEGMENT["network"], "init_filters": 16}, "start": str(first)}
    with pytest.raises(InputError, match=r"start is .*: its network is another"):
        attempt(wider, tmp_path / "wider")


def test_half_of_the_windows_or_more_are_drawn_around_lesions_where_there_are_some(tmp_path: Path) -> None:
    truth = np.zeros((1, 64, 64, 64), np.uint8)
    truth[:, :60, :60, :60] = 1
    truth[:, 62, 62, 62] = 2
    np.savez(tmp_path / "one.npz", image=truth.astype(np.float16), truth=truth)

    def share(lesions: list[int]) -> float:
        recipe = build(ExpertRecipe, {**SEGMENT, "data": {"phantom": "ct"}, "batch": 1, "lesions": lesions})
        work = Examination(recipe, [tmp_path / "one.npz"], [], join())
        return np.mean([bool((work.prepare(step)[0].truth == 2).any()) for step in range(120)])

    assert share([2]) > share([]) + 0.03  # one of two labels alone would draw it as often as the other
    assert share([2]) > 0.35


def test_a_classification_expert_learns_from_a_table_with_gaps(tmp_path: Path) -> None:
    lines = ["image,disc,bars"]
    for number in range(24):
        shape = ("disc", "bars")[number % 2]
        picture(shape, number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{int(shape == 'disc')},{'' if number % 3 == 0 else int(shape == 'bars')}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    table = {
        "name": "toy-film", "task": "classification", "modality": "DX", "labels": {0: "disc", 1: "bars"},
        "network": {"_target_": "DenseNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "init_features": 8,
                    "growth_rate": 4, "block_config": [1, 1]},
        "data": {"table": str(tmp_path / "table.csv")}, "patch": [32, 32],
        "scale": {"_target_": "ScaleIntensity", "minv": -1, "maxv": 1},
        "rate": 1e-2, "steps": 30, "batch": 8, "dtype": "float32",
    }  # fmt: skip
    folder = attempt(table, tmp_path / "out")
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert log[-1]["loss"] < 0.4 < log[0]["loss"]
    bundle = read_bundle(folder)
    assert bundle.labels == {0: "disc", 1: "bars"}
    network, scale = bundle.network(), bundle.recipe()
    for shape, wanted in (("disc", [True, False]), ("bars", [False, True])):
        pixels = np.asarray(picture(shape, 99).convert("L"), np.float32)[None]
        with torch.no_grad():
            assert (network(scale.scale(torch.from_numpy(pixels))[None])[0] > 0).tolist() == wanted


MAPS: dict[str, Any] = {
    "name": "toy-map", "task": "classification", "modality": "DX", "labels": {0: "Effusion", 1: "Cardiomegaly"},
    "network": {"_target_": "DynUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
                "kernel_size": [3, 3, 3], "strides": [2, 2, 2], "upsample_kernel_size": [2, 2], "filters": [8, 8, 8],
                "norm_name": "batch"},
    "data": {"phantom": "cxr", "count": 2}, "patch": [64, 64],
    "scale": {"_target_": "ScaleIntensity", "minv": -1, "maxv": 1},
    "rate": 1e-2, "steps": 30, "batch": 4, "dtype": "float32",
}  # fmt: skip


def film(where: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark field with noise, and at a column a small bright square; its masks, of which the second is empty."""
    masks = np.zeros((2, 64, 64), np.uint8)
    if where is not None:
        masks[0, 30:36, where : where + 6] = 1
    return np.random.default_rng(seed).normal(-0.5, 0.1, (1, 64, 64)) + masks[:1], masks


def test_a_network_that_maps_findings_learns_where_and_whether(tmp_path: Path) -> None:
    """From the masks of two films it finds the square anywhere on others; one pixel in a thousand decides."""
    cases = tmp_path / "out" / "cases"
    cases.mkdir(parents=True)
    recipe = build(ExpertRecipe, MAPS)
    for seed, where in zip(seeds_of("train", 0, 2), (20, None), strict=True):
        image, masks = film(where, seed)
        np.savez(cases / f"cxr-{seed}.npz", image=image.astype(np.float16), truth=masks)
    network = read_bundle(train_expert(recipe, tmp_path / "out", lambda told: None, lambda text: None)).network()
    with torch.no_grad():
        there, absent = (network(torch.from_numpy(film(where, 9)[0][None].astype(np.float32))) for where in (44, None))
    assert there.shape == (1, 2, 32, 32)
    assert pooled(there)[0, 0] > 0 > pooled(absent)[0, 0]
    row, column = np.unravel_index(int(there[0, 0].argmax()), (32, 32))
    assert 14 <= row <= 18
    assert 21 <= column <= 25


def test_the_likeliest_thousandth_of_a_film_decides() -> None:
    maps = torch.full((1, 2, 50, 40), -4.0)
    maps[0, 0, 3, 7:9] = torch.tensor([6.0, 4.0])
    maps[0, 1, 3, 7] = 6.0
    assert pooled(maps).tolist() == [[5.0, 1.0]]
    assert pooled(maps[..., :5, :5])[0, 0] == -4.0, "a map of a few points has one that decides"


def test_radiographs_become_cases_with_masks_where_the_film_shows_them(tmp_path: Path) -> None:
    """An effusion lies low on its side, and patients' right is at the left of the film."""
    from attending.phantom import generate
    from attending.training.expert_cases import shadows

    recipe = build(ExpertRecipe, MAPS)
    for side, half in (("right", np.s_[:, :32]), ("left", np.s_[:, 32:])):
        case = generate("cxr", 5, findings=[f"effusion:side={side}", "cardiomegaly"])
        fluid, heart = shadows(recipe, case)
        assert fluid[half].sum() > 0.9 * fluid.sum() > 0
        assert np.average(np.arange(64), weights=fluid.sum(1)) > 32
        assert heart.any()
    assert not shadows(recipe, generate("cxr", 5, findings=[])).any()


def test_each_patient_may_have_a_hospital_of_their_own_the_same_each_time() -> None:
    from attending.training.expert_cases import drawn

    mixed = Volumes(phantom="cxr", styles=("A", "B"), between=True, findings={"effusion": 1.0})
    first, again, other = (drawn(mixed, seed) for seed in (4, 4, 5))
    plain = drawn(Volumes(phantom="cxr", styles=("A", "B"), findings={"effusion": 1.0}), 4)
    assert first.findings[0].kind == plain.findings[0].kind == "effusion"
    assert first.patient == plain.patient
    assert first.style == again.style
    assert len({first.style.cxr["noise"], other.style.cxr["noise"], plain.style.cxr["noise"]}) == 3


def test_phantoms_become_cases_with_the_channels_asked_for(tmp_path: Path) -> None:
    from attending.training.expert_cases import gather

    table = SEGMENT | {
        "modality": "MR", "sequences": ["t1ce", "flair"], "spacing": [4, 4, 4], "overlapping": True,
        "labels": {0: "whole tumor", 1: "tumor core"}, "merge": {0: [1, 2, 4], 1: [1, 4]},
        "network": {"_target_": "SegResNet", "init_filters": 8, "in_channels": 2, "out_channels": 2,
                    "blocks_down": [1, 1], "blocks_up": [1]},
        "data": {"phantom": "mri"}, "scale": {"_target_": "NormalizeIntensity"},
    }  # fmt: skip
    table["data"]["count"] = 1
    recipe = build(ExpertRecipe, table)
    paths = gather(recipe, recipe.data, tmp_path, lambda text: None)
    for path in paths:
        with np.load(path) as file:
            image, truth = file["image"], file["truth"]
        assert image.shape == truth.shape == (2, *image.shape[1:])
        assert 40 < min(image.shape[1:]) <= max(image.shape[1:]) < 64, "4 mm voxels"
        assert not (truth[1] & ~truth[0] & 1).any(), "the core lies within the whole"


def test_phantoms_show_findings_by_the_chances_asked_for(tmp_path: Path) -> None:
    from attending.training.expert_cases import gather

    findings = {"effusion": 1, "cardiomegaly": 0.5, "fracture": 0}
    recipe = build(ExpertRecipe, MAPS | {"data": {"phantom": "cxr", "count": 8, "findings": findings}})
    shown = []
    for path in gather(recipe, recipe.data, tmp_path, lambda text: None):
        with np.load(path) as file:
            shown.append(file["truth"].any((1, 2)))
    effusion, cardiomegaly = np.transpose(shown)
    assert effusion.all()
    assert 0 < cardiomegaly.sum() < 8


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": "../x.nii.gz", "label": "labelsTr/b0.nii.gz"}, "leads out of the folder"),
        ({"image": "imagesTr/gone.nii.gz", "label": "labelsTr/b0.nii.gz"}, "gone.nii.gz"),
        ({"image": "imagesTr/b0.nii.gz"}, "expected image and label"),
    ],
)
def test_cases_that_cannot_be_used_are_told_at_once(decathlon: Path, tmp_path: Path, row: dict, words: str) -> None:
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).symlink_to(decathlon / name)
    good = json.loads((decathlon / "dataset.json").read_text())["training"]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [row, row, *good[:1]]}))
    table = SEGMENT | {"data": {"decathlon": str(tmp_path)}}
    with pytest.raises(DataError, match=words) as caught:
        attempt(table, tmp_path / "out")
    assert len(caught.value.problems) >= 2


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image,disc\na.png,2\n")
    from attending.training.expert_cases import gather

    table = SEGMENT | {"task": "classification", "merge": {}, "spacing": None, "patch": [16, 16],
                       "labels": {0: "disc"}, "data": {"table": str(tmp_path / "table.csv")}}  # fmt: skip
    recipe = build(ExpertRecipe, table)
    with pytest.raises(DataError, match=r"row 2, disc is 2: expected 0, 1 or nothing"):
        gather(recipe, recipe.data, tmp_path / "cases", lambda text: None)
    wider = build(ExpertRecipe, table | {"labels": {0: "disc", 1: "bars"}})
    with pytest.raises(InputError, match="bars: is no column; there are image, disc"):
        gather(wider, wider.data, tmp_path / "cases", lambda text: None)


def drawn(slope: float, offset: float, images: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and findings that are there with the chance sigmoid(slope * logit + offset)."""
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 2, (images, 1))
    there = draw.random((images, 1)) < 1 / (1 + np.exp(-(slope * logits + offset)))
    return torch.from_numpy(logits), torch.from_numpy(there.astype(np.float32))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, 0.0), (2.0, -1.0)])
def test_calibration_finds_the_line_that_the_chances_follow(slope: float, offset: float) -> None:
    ((found, moved),) = calibration(*drawn(slope, offset))
    assert found == pytest.approx(slope, rel=0.1)
    assert moved == pytest.approx(offset, abs=0.12)


def test_calibration_passes_over_what_is_not_known_and_keeps_logits_of_a_finding_without_examples() -> None:
    logits, truth = drawn(0.4, 0.0)
    both = torch.cat([truth, torch.full_like(truth, torch.nan)], 1)
    (first, second) = calibration(logits.expand(-1, 2), both)
    assert first[0] == pytest.approx(0.4, rel=0.1)
    assert second == (1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"missing": 0.3}, "missing is 0.3: is for recipes with sequences"),
        ({"missing": 1.0}, "0 to below 1"),
        ({"noise": -0.1}, "0 or more"),
        ({"lesions": [7]}, "lesions is 7: is not among labels"),
        ({"data": {"phantom": "ct", "findings": {"brain tumor": 1}}}, "data.findings is brain tumor: ct shows liver"),
        ({"data": {"phantom": "ct", "findings": {"liver lesion": 2}}}, "liver lesion is 2.0: expected a chance"),
        ({"data": {"decathlon": "x", "findings": {}}}, "is for phantoms"),
    ],
)
def test_settings_that_make_no_sense_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        build(ExpertRecipe, SEGMENT | {"data": {"phantom": "ct"}} | change)
