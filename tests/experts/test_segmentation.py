"""The real experts on tiny bundles: masks land where they belong, on oblique DICOM too."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import (
    BRATS,
    SEGRESNET,
    ball,
    brats_bundle,
    bright,
    oblique,
    series_of,
    study_of,
    vista3d_bundle,
    write_bundle,
)
from dicom_files import write_series
from monai.networks.nets import SegResNet

from attending.experts import ExpertCard, run_expert
from attending.experts.brats import NAMES, Brats
from attending.experts.monai_bundle import MonaiBundle
from attending.experts.vista3d import Vista3D, group_ids, vista3d_labels
from attending.imaging import open_study, overlay_picture
from attending.spatial import measure, same_grid

COS, SIN = float(np.cos(0.3)), float(np.sin(0.3))
OBLIQUE = ((COS, SIN * 0.8, SIN * 0.6), (-SIN, COS * 0.8, COS * 0.6))
ONE_CHANNEL = SEGRESNET | {"in_channels": 1, "out_channels": 2}
CT_CARD = ExpertCard("BRIGHT", ("CT",), (), "segmentation", "finds what is bright, for tests", "exact")


def ct_study(shape=(40, 36, 20), **facts):
    return study_of(series_of(np.random.default_rng(0).normal(0, 300, shape).astype(np.int16), oblique(), **facts))


def network_of(definition):
    return SegResNet(**{k: v for k, v in definition.items() if k[0] != "_"})


def bright_bundle(folder, spacing, level):
    config = BRATS | {"network_def": ONE_CHANNEL, "inferer": {"roi_size": [64, 64, 64], "overlap": 0.25}}
    config["preprocessing"] = {
        "transforms": [
            {"_target_": "Spacingd", "pixdim": spacing},
            {"_target_": "Orientationd", "axcodes": "RAS"},
            {"_target_": "ScaleIntensityRanged", "a_min": -1000, "a_max": 1000, "b_min": 0, "b_max": 1},
        ]
    }
    return write_bundle(folder, config, bright(network_of(ONE_CHANNEL), level=level))


@pytest.mark.parametrize("spacing", [[1.5, 1.5, 1.5], [1.0, 2.0, 2.5]])
def test_a_mask_lands_on_oblique_dicom_within_half_a_voxel(tmp_path, spacing):
    shape = (44, 40, 16)
    write_series(tmp_path / "d", np.zeros(shape, np.int16), directions=OBLIQUE, spacing=(1.3, 1.1, 2.5))
    affine = open_study(tmp_path / "d").series[0].volume.affine
    there = ball(affine, shape, (20, 17, 8), 12)
    write_series(
        tmp_path / "d", np.where(there, 200, -1000).astype(np.int16), directions=OBLIQUE, spacing=(1.3, 1.1, 2.5)
    )
    study = open_study(tmp_path / "d")
    # The level halfway between ball and air, from the share of the window that the ball fills.
    window = np.ceil(np.array(shape) * (1.3, 1.1, 2.5) / spacing / 32) * 32
    share = there.sum() * 1.3 * 1.1 * 2.5 / np.prod(window * spacing)
    level = (0.5 - share) / np.sqrt(share * (1 - share))
    expert = MonaiBundle(CT_CARD, bright_bundle(tmp_path / "b", spacing, level), {1: "ball"}, lesions=(1,))
    found = run_expert(expert, study)
    assert found.status == "done", found.text
    labels, volume = found.segmentation.labels, study.series[0].volume
    assert same_grid(labels, volume)
    wrong = (labels.array > 0) != there
    # Where the mask is wrong, the ball's surface passes within half a voxel of the coarser grid.
    centre = volume.to_world([20, 17, 8])
    off = np.abs(np.linalg.norm(volume.to_world(np.argwhere(wrong)) - centre, axis=1) - 12)
    half = np.linalg.norm(np.maximum(spacing, volume.spacing)) / 2
    assert off.max(initial=0) <= half
    assert measure(labels).centroid_mm == pytest.approx(centre, abs=0.3)
    facts = found.measurements["ball"]
    assert facts["longest_axial_diameter_mm"] == pytest.approx(24, abs=2.5)  # half a pixel of either grid at each end
    assert facts["volume_ml"] == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.1)
    assert "ball: " in found.text
    assert found.pictures[0].legend[0][0] == "ball"


def test_vista3d_segments_a_group_on_the_source_grid(tmp_path):
    study = ct_study()
    found = run_expert(Vista3D(vista3d_bundle(tmp_path / "b")), study, {"structures": "hepatic tumor"})
    assert found.status == "done", found.text
    assert found.segmentation.names == {1: "liver", 26: "hepatic tumor"}
    assert set(found.segmentation.present) <= {1, 26}
    assert same_grid(found.segmentation.labels, study.series[0].volume)
    record = found.record
    assert (record.expert, record.version, record.device) == ("VISTA3D", "0.0.1", "cpu")
    assert len(record.weights) == len(record.inputs["one"]) == 64
    assert record.settings["spacing"] == pytest.approx([1.5] * 3)
    again = run_expert(Vista3D(tmp_path / "b"), study, {"structures": "hepatic tumor"})
    np.testing.assert_array_equal(again.segmentation.labels.array, found.segmentation.labels.array)


@pytest.fixture
def _float32(monkeypatch):
    """So that rounding does not decide where the random network's logits are close to 0."""
    monkeypatch.setattr("attending.experts.device.precision", lambda device: torch.float32)


@pytest.mark.usefixtures("_float32")
@pytest.mark.parametrize("shape", [(40, 36, 20), (24, 30, 62)])  # the longest axis is the first, and the last
def test_many_classes_in_one_pass_and_classes_in_turns_give_the_same_mask(tmp_path, monkeypatch, shape):
    study, folder = ct_study(shape), vista3d_bundle(tmp_path / "b")
    counts = {}

    def masks(name, room):
        steps = []
        monkeypatch.setattr("attending.experts.vista3d._BUFFER_BYTES", room)
        found = run_expert(
            Vista3D(folder), study, {"structures": "cardiovascular"}, progress=lambda *step: steps.append(step)
        )
        done = [done for done, _ in steps]
        assert done == sorted(done)
        assert steps[-1][0] == steps[-1][1]
        counts[name] = done[-1]
        return found.segmentation.labels.array

    at_once = masks("at once", 1 << 30)
    in_turns = masks("in turns", 4 * 4 * 32 * 32 * 33)  # room for a few classes, less than for the 8 features
    assert len(np.unique(at_once)) > 5
    assert counts["in turns"] == 5 * counts["at once"]
    assert (at_once == in_turns).mean() > 0.9999  # a sum of products in another order


def test_few_classes_and_many_agree_in_the_precision_that_is_used_here(tmp_path, monkeypatch):
    study, folder = ct_study(), vista3d_bundle(tmp_path / "b")
    few = run_expert(Vista3D(folder), study, {"structures": "gastrointestinal"}).segmentation.labels.array
    monkeypatch.setattr("attending.experts.vista3d.group_ids", lambda group: group_ids("gastrointestinal") * 20)
    many = run_expert(Vista3D(folder), study, {"structures": "gastrointestinal"}).segmentation.labels.array
    assert (few == many).mean() > 0.97  # logits near 0 are rounded to either side


def test_weights_in_bfloat16_answer_to_the_bit_as_autocast_does(monkeypatch):
    from monai.networks.nets import vista3d132

    from attending.experts.device import lean

    torch.manual_seed(0)
    network = vista3d132(encoder_embed_dim=8).eval().requires_grad_(False)
    prompts = {"point_coords": torch.tensor([[[5.0, 6.0, 7.0]]]), "point_labels": torch.tensor([[1]])}
    image, classes = torch.rand(1, 1, 32, 32, 32), torch.tensor([[1], [26]])

    def answers():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return network(image, class_vector=classes), network(image, prompt_class=classes[:1], **prompts)

    before = answers()
    size = sum(parameter.nbytes for parameter in network.parameters())
    monkeypatch.setattr("attending.experts.device.precision", lambda device: torch.float32)
    assert lean(network).class_head.mlp[0].weight.dtype is torch.float32
    monkeypatch.setattr("attending.experts.device.precision", lambda device: torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lean(network).class_head.mlp[0].weight.dtype is torch.float32  # a GPU may compute in another precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert lean(network).class_head.mlp[0].weight.dtype is torch.bfloat16
    assert sum(parameter.nbytes for parameter in network.parameters()) < 0.6 * size
    assert all(torch.equal(a, b) for a, b in zip(before, answers(), strict=True))


def test_features_too_large_for_their_buffer_are_no_result(tmp_path, monkeypatch):
    expert = Vista3D(vista3d_bundle(tmp_path / "b"))
    monkeypatch.setattr("attending.experts.device.precision", lambda device: torch.bfloat16)
    conv = expert.network.class_head.image_post_mapping[1].layer.norm2
    conv.register_forward_hook(lambda module, inputs, out: out * 1e6)
    found = run_expert(expert, ct_study(), {"structures": "everything"})
    assert (found.status, found.segmentation) == ("failed", None)
    assert "too large to be blended" in found.text


def test_the_mask_is_what_the_network_says_without_any_of_our_windows(tmp_path):
    from attending.experts.bundle import read_bundle
    from attending.experts.device import computing
    from attending.experts.segment import prepare

    affine = np.diag([-1.5, -1.5, 1.5, 1.0])
    values = np.random.default_rng(0).normal(0, 300, (32, 32, 32)).astype(np.int16)
    study = study_of(series_of(values, affine))
    folder = vista3d_bundle(tmp_path / "b")
    found = run_expert(Vista3D(folder), study, {"structures": "gastrointestinal"})
    ids = group_ids("gastrointestinal")
    bundle = read_bundle(folder)
    image, _ = prepare([study.series[0].volume], bundle.recipe())
    with torch.inference_mode(), computing(torch.device("cpu")):
        logits = bundle.network()(image[None], class_vector=torch.tensor(ids)[:, None])[:, 0].float()
    want = np.where(logits.max(0).values > 0, np.array(ids)[logits.argmax(0)], 0)[::-1, ::-1]
    assert (
        found.segmentation.labels.array == want
    ).mean() > 0.999  # blending divides by the weights it multiplied with


def test_vista3ds_groups_are_those_of_vila_m3():
    table = vista3d_labels()
    sizes = {name: len(ids) for name, ids in table["groups"].items()}
    assert sizes == {
        "everything": 117, "hepatic tumor": 2, "hepatoma": 2, "pancreatic tumor": 2, "lung tumor": 7, "bone lesion": 1,
        "organs": 27, "cardiovascular": 18, "gastrointestinal": 6, "skeleton": 65, "muscles": 10,
    }  # fmt: skip
    names = table["names"]
    assert len(names) == 132
    assert [names[i] for i in (1, 26, 33, 38, 50, 63, 75, 98, 115, 128, 132)] == [
        "liver", "hepatic tumor", "vertebrae L5", "vertebrae T12", "vertebrae C7", "left rib 1", "right rib 1",
        "left gluteus maximus", "heart", "bone lesion", "airway",
    ]  # fmt: skip
    assert group_ids("lung tumor") == (28, 29, 30, 31, 32, 23)
    assert {14, 5} <= set(group_ids("organs"))
    assert not {2, 20, 21} & {label for group in table["groups"] for label in group_ids(group)}


def mri_study(affines=None, body_part="BRAIN"):
    roles = ["t1", "flair", "t1ce", "t2"]
    rng = np.random.default_rng(1)
    values = [np.where(rng.random((40, 36, 20)) < 0.4, 0, rng.integers(1, 900, (40, 36, 20))) for _ in roles]
    affines = affines or [oblique()] * 4
    return study_of(
        *(
            series_of(value.astype(np.int16), affine, "MR", role, sequence=role, body_part=body_part)
            for role, value, affine in zip(roles, values, affines, strict=True)
        )
    )


def test_brats_takes_the_sequences_in_its_order_and_answers_in_brats_labels(tmp_path):
    study = mri_study()
    found = run_expert(Brats(brats_bundle(tmp_path / "b")), study)
    assert found.status == "done", found.text
    assert list(found.record.inputs) == ["t1ce", "t1", "t2", "flair"]
    assert found.segmentation.names == NAMES
    assert set(found.segmentation.present) <= {1, 2, 4}
    assert {"tumor core", "whole tumor"} <= found.measurements.keys()
    labels = found.segmentation.labels.array
    voxel = 1.2 * 1.2 * 2.5 / 1000
    assert found.measurements["whole tumor"]["volume_ml"] == pytest.approx((labels > 0).sum() * voxel, abs=1e-3)
    assert found.measurements["tumor core"]["volume_ml"] == pytest.approx(
        np.isin(labels, (1, 4)).sum() * voxel, abs=1e-3
    )
    assert found.warnings == ()


def test_brats_resamples_sequences_on_other_grids_to_the_first_and_says_so(tmp_path):
    other = oblique((1.0, 1.0, 2.0), 35)
    study = mri_study([other, oblique(), oblique(), other])
    found = run_expert(Brats(brats_bundle(tmp_path / "b")), study)
    assert found.status == "done", found.text
    assert same_grid(found.segmentation.labels, study.sequences["t1ce"].volume)
    assert any("t1, t2 lie on another grid than t1ce" in warning for warning in found.warnings)


def test_brats_finds_a_bright_core_where_it_is(tmp_path):
    affine = oblique((1, 1, 1.5))
    there = ball(affine, (44, 44, 28), (20, 24, 14), 9)
    brain = ball(affine, (44, 44, 28), (22, 22, 14), 17)
    series = [
        series_of(np.where(there, 900, np.where(brain, 100, 0)).astype(np.int16), affine, "MR", role, sequence=role)
        for role in ("t1ce", "t1", "t2", "flair")
    ]
    folder = write_bundle(tmp_path / "b", BRATS, bright(network_of(SEGRESNET), channels=3))
    found = run_expert(Brats(folder), study_of(*series))
    mask = found.segmentation.labels.array == 4
    assert 2 * (mask & there).sum() / (mask.sum() + there.sum()) > 0.95
    assert found.text.startswith("tumor core: 3.")
    assert "whole tumor: " in found.text
    assert "side: " in found.text
    for name in ("whole tumor", "tumor core", "enhancing tumor"):
        facts = found.measurements[name]
        assert facts["longest_axial_diameter_mm"] == pytest.approx(18, abs=2)
        assert facts["midline"] == "reference mask"  # the head, since all around it is 0
        assert facts["components"] == len(facts["largest_components"]) == 1
        assert facts["intensity"]["mean"] == pytest.approx(900, rel=0.1)  # the mask reaches a little beyond


@pytest.mark.parametrize(("at", "side"), [((14, 24, 14), "right"), ((31, 24, 14), "left")])
def test_brats_tells_the_side_of_the_head_not_of_the_picture(tmp_path, at, side):
    affine = np.diag([-1.0, -1.0, 1.5, 1.0])  # LPS: the first voxels lie to the patient's right
    shape = (60, 44, 28)
    there = ball(affine, shape, at, 5)
    brain = ball(affine, shape, (22, 22, 14), 17)  # the head lies off the centre of the picture
    values = np.where(there, 900, np.where(brain, 100, 0)).astype(np.int16)
    series = [series_of(values, affine, "MR", role, sequence=role) for role in ("t1ce", "t1", "t2", "flair")]
    network = bright(network_of(SEGRESNET), channels=3, level=2.0)
    found = run_expert(Brats(write_bundle(tmp_path / "b", BRATS, network)), study_of(*series))
    assert found.measurements["whole tumor"]["side"] == side
    assert f"side: {side}" in found.text


def test_a_head_with_its_skull_and_an_empty_answer_are_said_so(tmp_path):
    study = mri_study()
    for series in study.series:
        series.volume.array[:] += 50
    network = network_of(SEGRESNET)
    bright(network, channels=3)
    network.conv_final[2].conv.bias.data.fill_(-1e6)
    found = run_expert(Brats(write_bundle(tmp_path / "b", BRATS, network)), study)
    assert (found.status, found.text) == ("done", "No tumor was found.")
    assert found.segmentation.present == ()
    assert found.pictures == ()
    assert any("skull was not removed" in warning for warning in found.warnings)


def test_a_smaller_window_than_the_makers_is_said_so(tmp_path, monkeypatch):
    inferer = {"roi_size": [160, 160, 160], "overlap": 0.25}
    config = BRATS | {"network_def": ONE_CHANNEL, "inferer": inferer}
    expert = MonaiBundle(CT_CARD, write_bundle(tmp_path / "b", config, bright(network_of(ONE_CHANNEL))), {1: "ball"})
    small = run_expert(expert, ct_study())
    assert small.status == "done"
    assert small.warnings == ()
    monkeypatch.setattr("attending.experts.window.MAX_BYTES_ON_CPU", 4 * 32 * 64 * 32)
    fitted = run_expert(expert, ct_study((70, 40, 33)))
    assert fitted.status == "done"
    sides = fitted.record.settings["window"]
    assert np.prod(sides) <= 4 * 32 * 64 * 32 / 2
    said = " x ".join(map(str, sides))
    assert fitted.warnings == (
        f"the network saw windows of {said} voxels instead of 160 x 160 x 160, to fit into memory",
    )


def test_overlapping_channels_are_labels_of_their_own(tmp_path):
    definition = SEGRESNET | {"in_channels": 1}
    config = BRATS | {"network_def": definition}
    folder = write_bundle(tmp_path / "b", config, bright(network_of(definition), channels=3))
    expert = MonaiBundle(CT_CARD, folder, {0: "a", 1: "b", 2: "c"}, overlapping=True)
    found = run_expert(expert, ct_study())
    assert found.segmentation.names == {1: "a", 2: "b", 3: "c"}
    assert found.segmentation.present == (3,)  # where several channels say yes, the last


def test_an_overlapping_lesion_inside_an_organ_keeps_both(tmp_path):
    definition = SEGRESNET | {"in_channels": 1, "out_channels": 2}
    network = bright(network_of(definition), channels=2)
    network.conv_final[2].conv.bias.data[0] = 0.0  # the first channel says yes where it is half as bright
    folder = write_bundle(tmp_path / "b", BRATS | {"network_def": definition}, network)
    names = {0: "organ", 1: "lesion"}
    found = run_expert(MonaiBundle(CT_CARD, folder, names, lesions=(2,), overlapping=True), ct_study())
    assert found.segmentation.present == (1, 2)
    assert "largest_components" in found.measurements["lesion"]
    assert found.measurements["lesion"]["inside"] == "organ"
    assert "side" not in found.measurements["organ"]


def test_labels_come_from_the_metadata_when_the_card_names_none(tmp_path):
    outputs = {"outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}}}
    config = BRATS | {"network_def": ONE_CHANNEL}
    network = bright(network_of(ONE_CHANNEL))
    folder = write_bundle(tmp_path / "b", config, network, network_data_format=outputs)
    study = ct_study()
    found = run_expert(MonaiBundle(CT_CARD, folder), study)
    assert found.segmentation.names == {1: "spleen"}
    overlay_picture(study.series[0].volume, found.segmentation.labels, "axial")  # same grid, so it can be painted


def test_a_network_that_goes_wrong_has_no_finding(tmp_path):
    network = network_of(ONE_CHANNEL)
    next(network.parameters()).data.fill_(float("nan"))
    folder = write_bundle(tmp_path / "b", BRATS | {"network_def": ONE_CHANNEL}, network)
    found = run_expert(MonaiBundle(CT_CARD, folder, {1: "x"}), ct_study())
    assert (found.status, found.text) == ("failed", "BRIGHT: the network returned values that are no numbers")


@pytest.mark.parametrize("expert", [Vista3D, Brats])
def test_without_its_bundle_an_expert_says_how_to_get_it(tmp_path, expert):
    assert "attending experts pull" in expert(tmp_path / "none").available()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "structures"), [("brats", ""), ("vista3d", "hepatic tumor"), ("vista3d", "everything")]
)
def test_256_256_128_voxels_take_less_than_3_gb_with_networks_of_the_published_size(which, structures):
    here = Path(__file__).parent
    told = subprocess.run(
        [sys.executable, "memory.py", which, structures], cwd=here, capture_output=True, text=True, check=True
    )
    assert int(told.stdout) < 3_000_000_000
