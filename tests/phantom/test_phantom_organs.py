"""CT anatomy: organs in plausible places, sizes and HU, in every contrast phase, different in every patient."""

import numpy as np
import pytest
from phantom_cases import IDS, PHASE_SEEDS, case, middle, organ, volume_ml
from scipy import ndimage

from attending.phantom import label_names
from attending.phantom.body import cage_radii
from attending.phantom.skeleton import rib_path, spine_y, vertebrae

FINE = (96, 96, 90)


@pytest.fixture(scope="module", params=PHASE_SEEDS)
def phase(request):
    made = case("ct", PHASE_SEEDS[request.param], shape=FINE)
    assert made.truth.visits[0]["facts"]["phase"] == request.param
    return request.param, made


@pytest.fixture(scope="module")
def trunk():
    return case("ct", PHASE_SEEDS["portal"], shape=FINE)


def median_hu(made, name):
    """Of the core of an organ, where no voxel is shared with a neighbour."""
    core = ndimage.binary_erosion(organ(made, name))
    return float(np.median(made.volumes["ct"].array[core if core.any() else organ(made, name)]))


# HU by phase as radiology texts give them: without contrast, arterial, portal venous.
@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("liver", {"none": (45, 70), "arterial": (55, 90), "portal": (90, 130)}),
        ("spleen", {"none": (40, 60), "arterial": (90, 170), "portal": (100, 140)}),
        ("pancreas", {"none": (28, 55), "arterial": (85, 130), "portal": (75, 120)}),
        ("aorta", {"none": (30, 55), "arterial": (250, 400), "portal": (130, 190)}),
        ("inferior vena cava", {"none": (25, 55), "arterial": (60, 130), "portal": (110, 180)}),
        ("right kidney", {"none": (25, 45), "arterial": (120, 230), "portal": (150, 230)}),
        ("left kidney", {"none": (25, 45), "arterial": (120, 230), "portal": (150, 230)}),
        ("heart", {"none": (30, 60), "arterial": (100, 320), "portal": (90, 170)}),
        ("gallbladder", {"none": (0, 25), "arterial": (0, 25), "portal": (0, 25)}),
        ("spinal cord", {"none": (20, 50), "arterial": (20, 50), "portal": (20, 50)}),
        ("left autochthon", {"none": (45, 75), "arterial": (45, 75), "portal": (45, 75)}),
        ("right iliopsoas", {"none": (45, 75), "arterial": (45, 75), "portal": (45, 75)}),
        ("left lung upper lobe", {"none": (-920, -780), "arterial": (-920, -780), "portal": (-920, -780)}),
        ("right lung lower lobe", {"none": (-920, -740), "arterial": (-920, -740), "portal": (-920, -740)}),
        ("vertebrae L3", {"none": (80, 350), "arterial": (80, 350), "portal": (80, 350)}),
        ("left hip", {"none": (120, 520), "arterial": (120, 520), "portal": (120, 520)}),
    ],
)
def test_hu_is_that_of_the_phase(phase, name, ranges):
    low, high = ranges[phase[0]]
    assert low <= median_hu(phase[1], name) <= high


def test_enhancement_follows_the_blood(phase):
    name, made = phase
    hu = {organ_: median_hu(made, organ_) for organ_ in ("aorta", "inferior vena cava", "liver", "spleen", "pancreas")}
    if name == "none":
        assert max(hu.values()) - min(hu.values()) < 40, "without contrast organs are alike"
    if name == "arterial":
        assert hu["aorta"] > hu["inferior vena cava"] + 100
        assert hu["pancreas"] > hu["liver"]
    if name == "portal":
        assert abs(hu["aorta"] - hu["inferior vena cava"]) < 50
        assert hu["liver"] > 90


def test_the_spleen_is_striped_in_the_arterial_phase_only(phase):
    name, made = phase
    spread = {}
    for solid in ("spleen", "liver"):
        inside = ndimage.binary_erosion(organ(made, solid), iterations=1)
        value = ndimage.gaussian_filter(made.volumes["ct"].array.astype(float), 0.6)[inside]
        spread[solid] = value[np.abs(value - np.median(value)) < 40].std()
    assert (spread["spleen"] > 1.25 * spread["liver"]) == (name == "arterial")


def test_the_cortex_is_brighter_than_the_medulla_while_contrast_is_in_it(phase):
    name, made = phase
    kidney = organ(made, "right kidney")
    depth = ndimage.distance_transform_edt(kidney, made.labels.spacing)
    value = made.volumes["ct"].array
    outer, inner = value[(depth > 4) & (depth < 9)], value[depth > 9]
    if name == "arterial":
        assert np.percentile(outer, 75) > np.percentile(inner, 25) + 60
    if name == "none":
        assert np.percentile(outer, 75) < np.percentile(inner, 25) + 30


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("liver", 900, 2000), ("spleen", 80, 320), ("pancreas", 30, 110), ("right kidney", 80, 220),
        ("left kidney", 80, 220), ("stomach", 150, 700), ("gallbladder", 8, 70), ("heart", 280, 800),
        ("aorta", 100, 350), ("inferior vena cava", 30, 130), ("trachea", 8, 45), ("esophagus", 12, 60),
        ("spinal cord", 15, 60), ("sternum", 20, 90), ("colon", 250, 1300), ("small bowel", 400, 1500),
    ],
)  # fmt: skip
def test_sizes_are_those_of_adults(phase, name, low, high):
    assert low <= volume_ml(phase[1], organ(phase[1], name)) <= high


def test_the_right_lung_is_larger_and_has_three_lobes(phase):
    made = phase[1]
    names = [n for n in IDS if "lung" in n and "lobe" in n]
    right = sum(volume_ml(made, organ(made, n)) for n in names if n.startswith("right"))
    left = sum(volume_ml(made, organ(made, n)) for n in names if n.startswith("left"))
    assert len([n for n in names if n.startswith("right")]) == 3
    assert 1.0 < right / left < 1.6
    assert 2500 < right + left < 7500


# Sides are the patient's, +x being right; heights count from the feet.
@pytest.mark.parametrize("name", ["liver", "gallbladder", "inferior vena cava", "superior vena cava", "right kidney",
                                  "right lung upper lobe", "right clavicula", "right hip", "right rib 5",
                                  "right scapula", "right humerus", "right autochthon"])  # fmt: skip
def test_right_is_right(phase, name):
    assert middle(phase[1], organ(phase[1], name))[0] > 4


@pytest.mark.parametrize("name", ["spleen", "stomach", "heart", "left kidney", "aorta", "left lung lower lobe",
                                  "left clavicula", "left hip", "left rib 9", "left scapula", "left humerus",
                                  "left autochthon", "left adrenal gland", "esophagus"])  # fmt: skip
def test_left_is_left(phase, name):
    assert middle(phase[1], organ(phase[1], name))[0] < -2


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        ("trachea", "heart"), ("heart", "liver"), ("liver", "right kidney"), ("spleen", "left kidney"),
        ("left kidney", "right kidney"), ("left lung upper lobe", "left lung lower lobe"),
        ("right lung upper lobe", "right lung middle lobe"), ("right lung middle lobe", "liver"),
        ("stomach", "small bowel"), ("pancreas", "left hip"), ("right adrenal gland", "right kidney"),
        ("thyroid gland", "heart"), ("left clavicula", "left rib 5"),
    ],
)  # fmt: skip
def test_heights(phase, upper, lower):
    assert middle(phase[1], organ(phase[1], upper))[2] > middle(phase[1], organ(phase[1], lower))[2]


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("sternum", "heart"), ("heart", "vertebrae T7"), ("stomach", "spleen"), ("pancreas", "left kidney"),
        ("vertebrae L2", "left autochthon"), ("inferior vena cava", "vertebrae L2"), ("liver", "right kidney"),
        ("trachea", "vertebrae T3"), ("heart", "spinal cord"),
    ],
)  # fmt: skip
def test_depths(phase, front, back):
    assert middle(phase[1], organ(phase[1], front))[1] > middle(phase[1], organ(phase[1], back))[1]


def test_vertebrae_stand_in_order(phase):
    made = phase[1]
    names = [f"vertebrae T{i}" for i in range(2, 13)] + [f"vertebrae L{i}" for i in range(1, 6)]
    heights = [middle(made, organ(made, n))[2] for n in names]
    assert heights == sorted(heights, reverse=True)
    gaps = -np.diff(heights)
    assert (gaps > 12).all()
    assert (gaps < 55).all()


def test_ribs_come_in_pairs(phase):
    made = phase[1]
    for number in range(1, 13):
        left, right = (organ(made, f"{side} rib {number}") for side in ("left", "right"))
        assert left.any()
        assert right.any()
        assert abs(middle(made, left)[2] - middle(made, right)[2]) < 15
        assert abs(middle(made, left)[0] + middle(made, right)[0]) < 25


def test_solid_organs_are_in_one_piece(trunk):
    for name in ("liver", "spleen", "left kidney", "right kidney", "heart", "gallbladder", "vertebrae L2"):
        pieces, count = ndimage.label(organ(trunk, name), np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.95 * organ(trunk, name).sum(), f"{name} is in {count} pieces"


def test_the_skin_closes_the_body(trunk):
    value = trunk.volumes["ct"].array
    body = np.zeros(value.shape, bool)
    for k in range(value.shape[2]):
        filled = ndimage.binary_fill_holes(ndimage.binary_opening(value[:, :, k] > -250, iterations=2))
        body[:, :, k] = filled
    labels = trunk.labels.array > 0
    assert (labels & ~ndimage.binary_dilation(body, iterations=2)).sum() < 0.002 * labels.sum()
    assert np.median(value[:4, -4:, :]) < -900, "the corner of the picture is air"


def test_lungs_hold_air_and_vessels(trunk):
    lungs = sum(organ(trunk, n) for n in IDS if "lung" in n and "lobe" in n) > 0
    value = trunk.volumes["ct"].array[ndimage.binary_erosion(lungs)]
    assert 0.01 < (value > -550).mean() < 0.25, "vessels"
    assert (value < -700).mean() > 0.6


def test_the_back_of_a_lying_patients_lung_is_denser(trunk):
    lungs = ndimage.binary_erosion(sum(organ(trunk, n) for n in IDS if "lung" in n and "lobe" in n) > 0, iterations=2)
    y = np.broadcast_to(np.arange(lungs.shape[1])[None, :, None], lungs.shape)
    half = np.median(y[lungs])
    value = trunk.volumes["ct"].array
    assert np.median(value[lungs & (y < half)]) > np.median(value[lungs & (y > half)]) + 15


def test_gas_rises_in_the_stomach(trunk):
    stomach, value = organ(trunk, "stomach"), trunk.volumes["ct"].array
    gas, fluid = stomach & (value < -700), stomach & (value > -50) & (value < 60)
    assert gas.any()
    assert middle(trunk, gas)[1] > middle(trunk, fluid)[1] + 15


def test_bowel_holds_gas_and_fluid(trunk):
    value = trunk.volumes["ct"].array
    for name, gas in (("colon", 0.05), ("small bowel", 0.0005)):
        inside = value[organ(trunk, name)]
        assert (inside < -600).mean() > gas, name
        assert ((inside > -30) & (inside < 130)).mean() > 0.2, name


def test_airways_lead_from_the_trachea_into_both_lungs(trunk):
    value = trunk.volumes["ct"].array
    air = (organ(trunk, "trachea") | organ(trunk, "airway")) & (value < -500)
    assert middle(trunk, organ(trunk, "airway"))[2] < middle(trunk, organ(trunk, "trachea"))[2]
    x = trunk.labels.to_world(np.argwhere(air))[:, 0]
    assert x.max() > 25
    assert x.min() < -25


def test_bone_is_dense_outside_and_spongy_inside(trunk):
    hip, value = organ(trunk, "left hip"), trunk.volumes["ct"].array
    (body,) = [organ(trunk, "vertebrae L2")]
    core = ndimage.binary_erosion(body, iterations=2)
    assert value[body & ~ndimage.binary_erosion(body)].max() > np.median(value[core]) + 60
    assert value[hip].max() > 300


def test_edges_are_mixed_between_two_tissues(trunk):
    """Partial volume: between lung and liver there are voxels of every HU between the two, in a thin layer."""
    value, lung = trunk.volumes["ct"].array, organ(trunk, "right lung lower lobe")
    liver = organ(trunk, "liver")
    border = ndimage.binary_dilation(lung) & ndimage.binary_dilation(liver)
    between = border & (value > -650) & (value < -100)
    assert between.sum() > 0.1 * border.sum()
    deep = ndimage.binary_erosion(liver, iterations=2)
    assert (value[deep] < -100).mean() < 0.001


def test_every_label_that_vista3d_knows_keeps_its_id():
    names = label_names("ct")
    known = {1: "liver", 3: "spleen", 4: "pancreas", 5: "right kidney", 6: "aorta", 14: "left kidney", 23: "lung tumor",
             26: "hepatic tumor", 28: "left lung upper lobe", 33: "vertebrae L5", 115: "heart"}  # fmt: skip
    assert {k: names[k] for k in known} == known
    assert len(set(names.values())) == len(names)


# Patients.


@pytest.fixture(scope="module")
def crowd():
    return [case("ct", seed) for seed in (3, 6, 7, 8, 9)]


@pytest.mark.parametrize("name", ["liver", "spleen", "left kidney", "right kidney", "heart", "stomach"])
def test_organs_differ_between_patients(crowd, name):
    sizes = np.array([volume_ml(made, organ(made, name)) for made in crowd])
    assert sizes.std() / sizes.mean() > 0.05
    assert sizes.max() / sizes.min() < 3.5


def test_larger_patients_have_larger_pictures_and_organs(crowd):
    heights = np.array([made.patient.height for made in crowd])
    lungs = [sum(volume_ml(m, organ(m, n)) for n in IDS if "lung" in n and "lobe" in n) for m in crowd]
    assert np.corrcoef(heights, lungs)[0, 1] > 0.6


def test_fat_goes_with_habitus(crowd):
    """Share of the picture of the abdomen that has the HU of fat."""
    share = []
    for made in crowd:
        value = made.volumes["ct"].array[:, :, 20:32]
        share.append(((value > -130) & (value < -70)).sum() / (value > -250).sum())
    assert np.corrcoef([made.patient.fat for made in crowd], share)[0, 1] > 0.7


def test_bone_thins_with_age(crowd):
    density = [np.median(made.volumes["ct"].array[organ(made, "left hip")]) for made in crowd]
    assert np.corrcoef([made.patient.age for made in crowd], density)[0, 1] < -0.6


def test_no_two_patients_lie_alike(crowd):
    for i, one in enumerate(crowd):
        for other in crowd[:i]:
            a, b = organ(one, "liver"), organ(other, "liver")
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) < 0.97


# The plan that all patients are drawn from.


def test_ribs_run_from_the_spine_down_and_forward():
    for number in range(1, 13):
        for side in (1, -1):
            path = rib_path(number, side)
            assert (side * path[3:, 0] > 0).all()
            assert path[-1, 1] > path[0, 1], "forward"
            assert path[-1, 2] < path[0, 2], "down"
        assert rib_path(number, 1) * [-1, 1, 1] == pytest.approx(rib_path(number, -1))


def test_the_spine_curves_back_in_the_chest_and_forward_in_the_loins():
    assert spine_y(80) < spine_y(-170) - 15
    assert spine_y(220) > spine_y(80)
    levels = vertebrae()
    assert [v.name for v in levels] == [f"T{i}" for i in range(1, 13)] + [f"L{i}" for i in range(1, 6)]
    assert np.all(np.diff([v.center[2] for v in levels]) < 0)


def test_the_chest_is_widest_above_the_diaphragm_and_narrow_at_the_top():
    side, front, back = cage_radii(np.array([-20.0, 195.0]))
    assert side[0] > 2 * side[1]
    assert front[0] > front[1]
    assert back[0] > back[1]
