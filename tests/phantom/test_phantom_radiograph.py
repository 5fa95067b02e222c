"""Radiographs: the same findings as on CT, projected in millimetres, each with its shadow where the truth says."""

import datetime
from functools import lru_cache

import numpy as np
import pytest
from phantom_cases import case
from scipy import ndimage

from attending.phantom import KINDS, Request
from attending.phantom.ct import scan_ct
from attending.phantom.finding import draw_findings
from attending.phantom.lesion import place_lesions
from attending.phantom.patient import draw_patient
from attending.phantom.style import get_style
from attending.phantom.xray import take_radiograph

ON_FILM = [k for k, v in KINDS.items() if "cxr" in v.studies]
SEED = 8


def picture(made):
    return made.volumes["frontal"].array[:, 0].astype(float)


def shadow(made, name):
    return made.labels.array[made.visits[0].channels.index(name), :, 0] > 0


@lru_cache
def both(kind, size, place=None, side=None):
    """The same finding of the same patient, on CT and on film."""
    wish = Request(kind, size=size, place=place, side=side)
    found = place_lesions(draw_findings(SEED, "cxr", [wish], 1), True)
    patient, style = draw_patient(SEED), get_style("A")
    return scan_ct(patient, SEED, style, found, 0, (96, 96, 90)), take_radiograph(patient, SEED, style, found, 0, 256)


@pytest.mark.parametrize(
    ("kind_", "size", "place", "side"),
    [
        ("lung nodule", 30, "right upper lobe", None),
        pytest.param("lung nodule", 30, "left lower lobe", None, marks=pytest.mark.slow),
        ("consolidation", 70, "right lower lobe", None),
        pytest.param("cardiomegaly", 180, None, None, marks=pytest.mark.slow),
        ("fracture", 24, "rib 5", "left"),
        pytest.param("edema", 85, None, None, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_shadow_is_the_projection_of_the_ct_mask_in_mm(kind_, size, place, side):
    """Every voxel of the finding on CT is sent along its ray; what it hits is the shadow."""
    scan, film = both(kind_, size, place, side)
    where = np.argwhere(scan.instance == 1) @ scan.grid.affine[:3, :3].T + scan.grid.affine[:3, 3]
    detector = film.detector
    scale = detector.magnify(where[:, 1])
    mm = np.stack([(where[:, 0] - detector.center[0]) * scale, (where[:, 2] - detector.center[1]) * scale], 1)
    at = np.rint(mm / detector.pixel + (detector.size - 1) / 2).astype(int)
    at = at[((at >= 0) & (at < detector.size)).all(1)]
    hit = np.zeros((detector.size, detector.size), bool)
    hit[tuple(at.T)] = True
    mask = film.masks[0]
    wide = ndimage.binary_dilation(mask, iterations=4)
    assert wide[tuple(at.T)].mean() > 0.95, "what CT shows lies in the shadow"
    filled = ndimage.binary_closing(np.pad(hit, 8), np.ones((3, 3)), iterations=4)[8:-8, 8:-8]
    assert (ndimage.binary_dilation(filled, iterations=4) & mask).sum() > 0.9 * mask.sum(), (
        "and the shadow holds no more"
    )
    middle = (np.argwhere(mask).mean(0) - (detector.size - 1) / 2) * detector.pixel
    assert middle == pytest.approx(mm.mean(0), abs=10 if kind_ == "edema" else 6), "mm on the detector"


def test_volumes_behind_shadows_are_those_of_the_ct():
    for kind_, size, place in (("lung nodule", 30, "right upper lobe"), ("consolidation", 70, "right lower lobe")):
        scan, film = both(kind_, size, place, None)
        volume = (scan.instance == 1).sum() * np.prod(scan.grid.spacing) / 1000
        assert film.volumes[0] == pytest.approx(volume, rel=0.12)


@pytest.mark.parametrize("kind_", ON_FILM)
def test_a_finding_changes_the_picture_at_its_shadow_most(kind_):
    there, gone = case("cxr", SEED, kind_), case("cxr", SEED)
    mask = there.visits[0].instances.array[0, :, 0] > 0
    assert mask.any()
    change = np.abs(picture(there) - picture(gone))
    assert change[mask].mean() > 1.5 * change[~ndimage.binary_dilation(mask, iterations=3)].mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "brighter"),
    [
        ("effusion:size=120,side=left", True), ("consolidation:size=90,place=left lower lobe,density=dense", True),
        ("edema:size=90,density=severe", True), ("pneumothorax:size=45,side=right", False),
        ("lung nodule:size=40,place=right upper lobe,density=solid", True),
    ],
)  # fmt: skip
def test_water_is_bright_and_air_is_dark(wish, brighter):
    there, gone = case("cxr", SEED, wish), case("cxr", SEED)
    mask = there.visits[0].instances.array[0, :, 0] > 0
    change = ndimage.gaussian_filter(picture(there) - picture(gone), 1)[mask]
    assert (np.median(change) > 0) == brighter


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind_", ["effusion", "pneumothorax", "atelectasis", "fracture"])
def test_sides_are_the_patients(kind_, side):
    made = case("cxr", SEED, f"{kind_}:side={side}")
    x = made.labels.to_world([np.argwhere(made.visits[0].instances.array[0])[:, 0].mean(), 0, 0])[0]
    assert (x > 0) == (side == "right")


def test_lungs_are_dark_between_bright_heart_and_wall():
    made = case("cxr", SEED)
    value = picture(made)
    lungs = shadow(made, "right lung") | shadow(made, "left lung")
    heart = shadow(made, "heart") & ~lungs
    assert np.median(value[lungs]) < np.median(value[heart])
    assert np.median(value[lungs]) < np.median(value[~lungs & ~heart & (value > 0)])


def test_organs_lie_as_in_the_patient():
    made = case("cxr", SEED)
    place = {n: np.argwhere(shadow(made, n)).mean(0) for n in ("right lung", "left lung", "heart")}
    assert place["right lung"][0] > place["heart"][0] > place["left lung"][0], "+x is the patient's right"
    assert place["heart"][1] < max(place["right lung"][1], place["left lung"][1])
    assert shadow(made, "heart").sum() < shadow(made, "right lung").sum()


def test_fluid_blunts_the_angle_and_gas_fills_the_top():
    fluid, gas = case("cxr", SEED, "effusion:size=120,side=left"), case("cxr", SEED, "pneumothorax:size=45,side=right")
    lung = np.argwhere(shadow(fluid, "left lung"))[:, 1]
    assert np.argwhere(fluid.visits[0].instances.array[0, :, 0])[:, 1].mean() < np.median(lung)
    lung = np.argwhere(shadow(gas, "right lung"))[:, 1]
    assert np.argwhere(gas.visits[0].instances.array[0, :, 0])[:, 1].mean() > np.median(lung)


@pytest.mark.parametrize(("size", "more"), [(155, 0.01), (185, 0.1)])
def test_the_cardiothoracic_ratio_grows_with_the_heart(size, more):
    made = [case("cxr", SEED, f"cardiomegaly:size={size}"), case("cxr", SEED)]
    large, usual = (m.truth.visits[0]["facts"]["cardiothoracic_ratio"] for m in made)
    assert large > usual + more


def test_the_ratio_is_that_of_the_shadows():
    made = case("cxr", SEED, "cardiomegaly:size=185")
    lungs = shadow(made, "right lung") | shadow(made, "left lung")
    heart, chest = (np.ptp(np.flatnonzero(mask.any(1))) + 1 for mask in (shadow(made, "heart"), lungs))
    assert made.truth.visits[0]["facts"]["cardiothoracic_ratio"] == pytest.approx(heart / chest, abs=0.001)


def test_a_larger_picture_shows_the_same():
    small, large = case("cxr", SEED), case("cxr", SEED, shape=(320, 1, 320))
    assert large.labels.spacing[0] == pytest.approx(small.labels.spacing[0] / 2, rel=0.01)
    half = picture(large).reshape(160, 2, 160, 2).mean((1, 3))
    smooth = [ndimage.gaussian_filter(value, 2)[20:-20, 20:-20].ravel() for value in (half, picture(small))]
    assert np.corrcoef(smooth)[0, 1] > 0.98


def test_two_films_of_a_patient_differ_in_pose_not_in_anatomy():
    patient, style = draw_patient(SEED), get_style("A")
    first, second = (take_radiograph(patient, SEED, style, (), visit, 128) for visit in (0, 1))
    assert first.detector != second.detector
    ratio = [np.ptp(np.flatnonzero(f.organs["heart"].any(1))) * f.detector.pixel for f in (first, second)]
    assert ratio[0] == pytest.approx(ratio[1], abs=8)
    assert datetime.date(2020, 1, 1) < case("cxr", SEED).visits[0].date
