"""VISTA3D at points: the point decoder is used, as MONAI's own inference uses it, and only on places in the volume."""

import json
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from bundles import brats_bundle, oblique, series_of, study_of, vista3d_bundle
from monai.apps.vista3d.inferer import point_based_window_inferer

from attending.experts.device import computing
from attending.experts.points import ZERO_SHOT, Point, around_points, structures
from attending.experts.segment import prepare
from attending.experts.vista3d import Vista3D, vista3d_labels
from attending.spatial import same_grid

CPU = torch.device("cpu")
GRID = np.diag([1.5, 1.5, 1.5, 1.0])  # that of the network, so that voxels stay where they are
INSIDE = (30.0, 19.5, 10.5)  # voxel 20, 13, 7: where the random network says yes to a click
BESIDE = (18.0, 16.5, 39.0)  # voxel 12, 11, 26: where it says no


@pytest.fixture(scope="module", autouse=True)
def _float32():
    """So that every machine answers alike: the weights are random, and many logits close to 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attending.experts.device.precision", lambda device: torch.float32)
        yield


@pytest.fixture(scope="module")
def vista(tmp_path_factory):
    return Vista3D(vista3d_bundle(tmp_path_factory.mktemp("vista3d") / "b"))


@pytest.fixture(scope="module")
def study():
    return study_of(series_of(np.random.default_rng(0).normal(0, 300, (32, 32, 32)).astype(np.int16), GRID))


def network_says(vista, study, points, marks, **classes):
    """What MONAI's network answers for the one window that the study is, called as its documentation says."""
    image, _ = prepare([study.series[0].volume], vista.bundle.recipe())
    with torch.inference_mode(), computing(CPU):
        out = vista.network(
            image[None],
            point_coords=torch.tensor(points, dtype=torch.float32)[None] / 1.5,
            point_labels=torch.tensor([marks]),
            patch_coords=[(slice(None), slice(None), *[slice(0, 32)] * 3)],
            **classes,
        )
    return (out[0, 0] > 0).numpy()


def test_a_click_on_something_without_a_name_asks_the_point_decoder_alone(vista, study):
    found = vista.at_points(study, [INSIDE])
    assert found.status == "done", found.text
    said = network_says(vista, study, [INSIDE], [1], prompt_class=torch.tensor([[ZERO_SHOT]]))
    mask = found.segmentation.labels.array == ZERO_SHOT
    assert 0 < mask.sum() < mask.size
    assert said[20, 13, 7]
    assert (said | ~mask).all()  # what does not hang together with the point is left out, nothing is added
    assert mask.sum() > 0.9 * said.sum()
    assert found.segmentation.names == {ZERO_SHOT: "marked structure"}
    assert found.measurements["marked structure"]["longest_axial_diameter_mm"] > 0
    assert found.record.settings["points"] == [[30.0, 19.5, 10.5, True]]
    assert found.record.arguments == {"structure": "not named"}
    assert json.loads(json.dumps(found.to_dict()))["labels"] == {str(ZERO_SHOT): "marked structure"}


def test_a_click_where_the_network_says_no_finds_nothing(vista, study):
    found = vista.at_points(study, [BESIDE])
    assert (found.status, found.text) == ("done", "Not found: marked structure.")
    assert found.segmentation.present == ()


@pytest.mark.parametrize(("structure", "label", "mark"), [("liver", 1, 1), ("hepatic tumor", 26, 3)])
def test_a_click_on_a_named_structure_corrects_what_its_class_finds(vista, study, structure, label, mark):
    classes = torch.tensor([[label]])
    said = network_says(vista, study, [BESIDE], [mark], class_vector=classes, prompt_class=classes)
    found = vista.at_points(study, [BESIDE], structure)
    np.testing.assert_array_equal(found.segmentation.labels.array, said * np.uint8(label))
    assert found.segmentation.names == {label: structure}


def test_moving_the_point_moves_the_result(vista, study):
    masks = [vista.at_points(study, [p], "liver").segmentation.labels.array for p in (BESIDE, INSIDE, (6, 40.5, 33))]
    assert len({mask.tobytes() for mask in masks}) == 3


def test_a_negative_point_takes_away_what_hangs_together_with_it(vista, study):
    plain = vista.at_points(study, [INSIDE], "liver").segmentation.labels.array > 0
    found = vista.at_points(study, [INSIDE, Point(*BESIDE, positive=False)], "liver")
    less = found.segmentation.labels.array > 0
    assert plain[12, 11, 26]
    assert not less[12, 11, 26]
    assert less.sum() < plain.sum()
    assert found.record.settings["points"] == [[30.0, 19.5, 10.5, True], [18.0, 16.5, 39.0, False]]
    alone = vista.at_points(study, [Point(*BESIDE, positive=False)], "liver")
    assert alone.status == "done"
    assert not alone.segmentation.labels.array[12, 11, 26]


@pytest.mark.parametrize("shape", [(70, 45, 33), (20, 50, 32), (40, 40, 40)])
def test_windows_around_points_are_those_of_monai(vista, shape):
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    points = np.array([[5.2, 6.0, 7.9], [18.0, 40.5, 30.0], [17.0, 39.0, 29.0]])
    prompts = {"point_labels": torch.tensor([[1, 1, 0]]), "class_vector": None, "prompt_class": torch.tensor([[1]])}
    with warnings.catch_warnings(), torch.inference_mode(), computing(CPU):
        warnings.simplefilter("ignore")  # MONAI's function warns of an affine that it made itself
        theirs = point_based_window_inferer(
            image[None],
            (32, 32, 32),
            vista.network,
            torch.tensor(points, dtype=torch.float32)[None],
            transpose=True,
            **prompts,
        )
    ours = around_points(vista.network, image, points, (32, 32, 32), CPU, prompts)
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), rtol=1e-5, atol=1e-5)
    assert np.isnan(ours).any() == (min(shape) > 32)  # the middle one is covered by its windows


def test_points_are_found_again_on_an_oblique_grid_of_another_spacing(vista):
    affine = oblique((1.2, 1.2, 2.5))
    study = study_of(series_of(np.random.default_rng(1).normal(0, 300, (40, 36, 20)).astype(np.int16), affine))
    volume = study.series[0].volume
    corners = [[0, 0, 0], [39, 35, 19], [20, 18, 10], [-0.4, 35.4, 19.4]]
    found = vista.at_points(study, volume.to_world(corners), "liver")
    assert found.status == "done", found.text
    assert same_grid(found.segmentation.labels, volume)


def test_windows_that_points_share_are_looked_at_once_and_progress_is_told(vista, study):
    steps = []
    vista.at_points(study, [INSIDE, BESIDE], "liver", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("points", "structure", "says"),
    [
        (
            [(100, 0, 0)],
            None,
            "the point 100, 0, 0 lies outside the volume, which spans x -0.8 to 47.2, y -0.8 to 47.2",
        ),
        ([INSIDE, (0, 0, -0.76)], None, "lies outside the volume"),
        ([(float("nan"), 0, 0)], None, "expected a point in mm, not nan, 0, 0"),
        ([(0, float("inf"), 0)], "liver", "expected a point in mm"),
        ([], "liver", "expected 1 to 64 points, not 0"),
        ([INSIDE] * 65, "liver", "expected 1 to 64 points, not 65"),
        ([Point(*INSIDE, positive=False)], None, "all points lie beside what is meant"),
        ([INSIDE], "soul", "VISTA3D takes as structure: not named, liver"),
        ([INSIDE], "lung", "VISTA3D takes as structure"),
        ([INSIDE], "../../etc/passwd", "VISTA3D takes as structure"),
    ],
)
def test_what_is_no_place_in_the_volume_or_no_structure_is_refused(vista, study, points, structure, says):
    found = vista.at_points(study, points, structure)
    assert found.status == "refused"
    assert says in found.text
    assert found.segmentation is None


def test_points_on_a_study_that_does_not_fit_or_a_bundle_that_is_not_there_have_no_result(vista, tmp_path, monkeypatch):
    other = study_of(series_of(np.zeros((8, 8, 8), np.int16), GRID, "MR"))
    assert vista.at_points(other, [(1, 1, 1)]).status == "refused"
    lost = Vista3D(tmp_path / "none").at_points(study_of(series_of(np.zeros((8, 8, 8), np.int16), GRID)), [(1, 1, 1)])
    assert lost.status == "failed"
    assert "attending experts pull vista3d" in lost.text
    monkeypatch.setattr("attending.experts.points.find_spec", lambda name: None)
    assert "scikit-image is not installed" in vista.at_points(other, [(1, 1, 1)]).text


def test_points_that_take_too_long_or_meet_a_broken_network_have_failed(study, tmp_path):
    broken = Vista3D(vista3d_bundle(tmp_path / "b"))
    next(broken.network.point_head.parameters()).data.fill_(float("nan"))
    found = broken.at_points(study, [INSIDE])
    assert (found.status, found.text) == ("failed", "VISTA3D: the network returned values that are no numbers")
    late = broken.at_points(study, [INSIDE], seconds=0.0001)
    assert "took longer than its 0.0001 seconds" in late.text


def test_the_model_is_offered_no_points(vista):
    assert list(vista.card.arguments) == ["structures"]
    names = structures()
    assert len(names) == 132 - 8
    assert not {"kidney", "lung", "bone"} & set(names)
    assert set(names) <= set(vista3d_labels()["names"].values())


def command(monkeypatch, capsys, *words):
    from attending.cli import main

    monkeypatch.setattr(sys, "argv", ["attending", "experts", "run", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return caught.value.code or 0, out, " ".join(err.split())


@pytest.fixture
def scan(tmp_path, monkeypatch, study):
    vista3d_bundle(tmp_path / "bundles" / "vista3d")
    brats_bundle(tmp_path / "bundles" / "brats_mri_segmentation")
    monkeypatch.setenv("ATTENDING_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("ATTENDING_EXPERTS", str(tmp_path / "cards"))
    volume = study.series[0].volume
    moved = volume.affine.copy()
    moved[:3, 3] = -60  # so that points have negative coordinates
    nib.save(nib.Nifti1Image(volume.array, moved), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_the_command_line_takes_points(scan, monkeypatch, capsys, vista, study):
    words = ["VISTA3D", scan, "--modality", "CT", "--json", "--argument", "structure=liver"]
    code, out, _ = command(monkeypatch, capsys, *words, "--point", "-30,-40.5,-49.5", "--point", "-42,-43.5,-21,-")
    told = json.loads(out)
    assert (code, told["status"], told["arguments"]) == (0, "done", {"structure": "liver"})
    assert told["record"]["settings"]["points"] == [[-30, -40.5, -49.5, True], [-42, -43.5, -21, False]]
    want = vista.at_points(study, [INSIDE, Point(*BESIDE, positive=False)], "liver")
    assert told["measurements"]["liver"]["volume_ml"] == want.measurements["liver"]["volume_ml"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["VISTA3D", "--point", "1,2"], "--point is 1,2: expected X,Y,Z in RAS mm"),
        (["VISTA3D", "--point", "1,2,three"], "expected X,Y,Z"),
        (["VISTA3D", "--point", "1,2,3,maybe"], "expected X,Y,Z"),
        (["VISTA3D", "--point", "1,2,3,-,4"], "expected X,Y,Z"),
        (["VISTA3D", "--point", "1,2,3"], "lies outside the volume"),
        (["VISTA3D", "--point", "nan,2,3"], "expected a point in mm"),
        (["VISTA3D", "--point", "-30,-40,-50", "--argument", "structures=organs"], "takes no argument 'structures'"),
        (["BRATS", "--point", "1,2,3"], "BRATS takes no points; VISTA3D does"),
    ],
)
def test_points_that_are_none_end_with_exit_code_3(scan, monkeypatch, capsys, words, says):
    code, out, err = command(monkeypatch, capsys, words[0], scan, "--modality", "CT", *words[1:])
    assert (code, out) == (3, "")
    assert says in err
