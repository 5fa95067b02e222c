"""Hospitals: each changes what it claims in the pixels, and nothing in the patient."""

import numpy as np
import pytest
from phantom_cases import case, organ, volume_ml
from scipy import ndimage

from attending.errors import InputError
from attending.phantom import between, generate, styles
from attending.phantom.random import stream

NAMES = tuple(styles())


def scan(style, kind="ct", seed=1):
    return case(kind, seed, style=style)


@pytest.mark.parametrize("kind_", ["ct", "mri", "cxr"])
def test_a_style_changes_no_patient_and_no_truth_but_the_picture(kind_):
    made = [scan(style, kind_) for style in NAMES]
    assert len({m.patient for m in made}) == 1
    assert len({m.findings for m in made}) == 1
    first = next(iter(made[0].volumes))
    arrays = [m.volumes[first].array for m in made]
    assert all(not np.array_equal(a, arrays[0]) for a in arrays[1:])


@pytest.mark.parametrize("style", NAMES[1:])
@pytest.mark.parametrize(("name", "rel"), [("liver", 0.06), ("left kidney", 0.12), ("right hip", 0.12)])
def test_organs_are_the_same_size_in_every_hospital(style, name, rel):
    one, other = scan("A"), scan(style)
    if name == "right hip":  # cut by the end of the scan
        name = "vertebrae T10"
    assert volume_ml(other, organ(other, name)) == pytest.approx(volume_ml(one, organ(one, name)), rel=rel)


@pytest.mark.parametrize("style", NAMES)
def test_field_of_view_and_length_are_as_claimed(style):
    made, plain = scan(style), scan("A")
    claimed, base = styles()[style].ct, styles()["A"].ct
    width, usual = (m.labels.spacing[0] * m.labels.shape[0] for m in (made, plain))
    assert width / usual == pytest.approx(claimed["fov"] / base["fov"], rel=0.01)
    length, usual = (m.labels.spacing[2] * m.labels.shape[2] for m in (made, plain))
    assert length / usual == pytest.approx(claimed["length"] / base["length"], rel=0.01)


def test_noise_rises_as_claimed():
    level = {}
    for style in NAMES:
        made = scan(style)
        inside = ndimage.binary_erosion(organ(made, "liver"), iterations=2)
        value = made.volumes["ct"].array.astype(float)
        level[style] = (value - ndimage.median_filter(value, 5))[inside].std()
    claimed = {style: styles()[style].ct["noise"] for style in NAMES}
    assert sorted(level, key=level.get) == sorted(claimed, key=claimed.get)


def test_a_table_lies_under_the_patient_where_the_hospital_has_one():
    for style in NAMES:
        made = scan(style)
        value = made.volumes["ct"].array
        middle = value[30:42, :, 16:48].mean((0, 2))
        body = np.flatnonzero(middle > -300)
        below = middle[: max(1, body[0] - 1)]
        table = (below > -880).any() or (value[10:62, : body[0] + 1, 20:40] > -850).mean() > 0.05
        if styles()[style].ct["table"] == "none":
            assert not (below > -880).any()
        else:
            assert table


def test_contrast_protocols_are_as_claimed():
    for style in NAMES:
        claimed = styles()[style].ct["phases"]
        assert sum(claimed.values()) == pytest.approx(1)
        drawn = [str(stream(s, "phase", style).choice(list(claimed), p=list(claimed.values()))) for s in range(1500)]
        for phase, share in claimed.items():
            assert drawn.count(phase) / 1500 == pytest.approx(share, abs=0.04)


def test_a_sharp_kernel_leaves_sharper_edges_than_a_smooth_one():
    steep = {}
    for style in ("B", "D"):
        made = scan(style)
        lung = organ(made, "right lung lower lobe")
        border = ndimage.binary_dilation(lung) & ~lung
        value = ndimage.gaussian_filter1d(made.volumes["ct"].array.astype(float), 0.8, axis=2)
        steep[style] = np.abs(np.gradient(value, axis=0))[border].mean() / made.labels.spacing[0]
    assert styles()["B"].ct["kernel"] < 0 < styles()["D"].ct["kernel"]
    assert steep["B"] > steep["D"]


@pytest.mark.parametrize("style", NAMES)
def test_mri_units_are_the_scanners_own(style):
    made = scan(style, "mri")
    claimed = styles()[style].mri["scale"] / styles()["A"].mri["scale"]
    white = made.visits[0].tissue.array == 3
    usual = np.median(scan("A", "mri").volumes["t1"].array[white])
    assert np.median(made.volumes["t1"].array[white]) / usual == pytest.approx(claimed, rel=0.5)


def test_mri_noise_and_ghosts_are_as_claimed():
    noise, ghost = {}, {}
    for style in NAMES:
        made = scan(style, "mri")
        value = made.volumes["flair"].array.astype(float)
        white = np.median(value[made.visits[0].tissue.array == 3])
        noise[style] = value[2:12, 2:8, -10:].std() / white
        air = made.visits[0].tissue.array == 0
        shifted = np.roll(~air, air.shape[1] // 2, axis=1) & air
        ghost[style] = (value[shifted].mean() - value[2:12, 2:8, -10:].mean()) / white
    assert noise["D"] > noise["B"] > noise["A"]
    assert ghost["B"] > ghost["A"] + 0.005


@pytest.mark.parametrize("style", NAMES)
def test_tissues_of_a_head_are_the_same_in_every_hospital(style):
    assert np.array_equal(scan(style, "mri").visits[0].tissue.array, scan("A", "mri").visits[0].tissue.array)


@pytest.mark.parametrize("style", NAMES)
def test_markers_are_burned_in_where_claimed(style):
    """The left of the displayed picture is the patient's right, +x."""
    made = generate("cxr", 1, style, findings=[], shape=(256, 1, 256))
    value = made.volumes["frontal"].array[:, 0]
    top = {"left": value[128:, -32:], "right": value[:128, -32:]}
    corner = styles()[style].cxr["corner"]
    other = "left" if corner == "right" else "right"
    ink = {side: np.abs(np.diff(part.astype(float), axis=0)).max() for side, part in top.items()}
    assert ink[corner] > 0.3 * 4095
    assert ink[corner] > ink[other]


def test_grid_lines_stand_only_where_claimed():
    power = {}
    for style in NAMES:
        value = scan(style, "cxr").volumes["frontal"].array[:, 0].astype(float)
        line = np.abs(np.fft.rfft(value - ndimage.uniform_filter(value, 5), axis=0)).mean(1)
        at = round(2.1 / (2 * np.pi) * value.shape[0])
        power[style] = line[at - 1 : at + 2].max() / np.median(line)
    assert max(power, key=power.get) == "B"
    assert [s for s in NAMES if styles()[s].cxr["lines"]] == ["B"]


def test_collimation_blackens_two_edges_where_claimed():
    for style in NAMES:
        value = scan(style, "cxr").volumes["frontal"].array[:, 0]
        black = (value[:2] == 0).all() and (value[-2:] == 0).all()
        assert black == (styles()[style].cxr["collimation"] > 0)


def test_a_mobile_film_taken_from_near_magnifies_more():
    far, near = (scan(s, "cxr").truth.visits[0]["facts"]["detector"] for s in ("A", "D"))
    assert near["distance"] < far["distance"]
    assert near["distance"] / (near["distance"] - 150) > far["distance"] / (far["distance"] - 150)


def test_every_style_says_what_it_is():
    assert all(len(s.title) > 20 for s in styles().values())
    assert len({s.title for s in styles().values()}) == len(NAMES)
    assert all(s.ct.keys() == styles()["A"].ct.keys() for s in styles().values())


def numbers(settings):
    return {name: value for name, value in settings.items() if isinstance(value, float)}


def test_a_hospital_between_others_takes_nothing_that_none_of_them_has():
    drawn = [between("ABC", np.random.default_rng(seed)) for seed in range(30)]
    told = [styles()[name] for name in "ABC"]
    for kind_ in ("ct", "mri", "cxr"):
        for name in numbers(getattr(told[0], kind_)):
            known = [getattr(one, kind_)[name] for one in told]
            found = [getattr(one, kind_)[name] for one in drawn]
            assert min(known) <= min(found)
            assert max(found) <= max(known)
            assert (len(set(found)) == 30) == (len(set(known)) > 1)
    assert {one.ct["table"] for one in drawn} == {"curved", "flat"}
    assert drawn[0].ct["phases"] == dict.fromkeys(("none", "arterial", "portal"), pytest.approx(1 / 3))
    assert between("C", np.random.default_rng(0)).ct["phases"] == {"arterial": 0.5, "portal": 0.5}  # it scans no other


def test_a_patient_at_a_hospital_between_others_is_the_same_patient():
    other = between("ABC", np.random.default_rng(1))
    one, two = generate("mri", 3, "A", shape=(48, 48, 48)), generate("mri", 3, other, shape=(48, 48, 48))
    assert one.patient == two.patient
    assert not np.array_equal(one.volumes["flair"].array, two.volumes["flair"].array)
    with pytest.raises(InputError, match="A, B, C, D"):
        between("AZ", np.random.default_rng(1))
