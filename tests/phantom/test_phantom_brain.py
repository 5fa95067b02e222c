"""Brain MRI: tissues look as each sequence shows them, and a tumor changes what the truth says."""

import numpy as np
import pytest
from phantom_cases import case, grown
from scipy import ndimage

from attending.phantom.brain import TISSUES
from attending.phantom.mri import SEQUENCES

NECROTIC = "brain tumor:size=45,density=necrotic,side=left,place=parietal lobe"
SOLID = "brain tumor:size=45,density=solid,side=left,place=parietal lobe"
FINE = (96, 96, 96)


@pytest.fixture(scope="module")
def head():
    return case("mri", 5, shape=FINE)


@pytest.fixture(scope="module")
def ill():
    return case("mri", 5, NECROTIC, shape=FINE)


def signal(made, sequence, tissue):
    """Median within a tissue, relative to that sequence's white matter."""
    found = made.visits[0].tissue.array
    value = made.volumes[sequence].array
    core = ndimage.binary_erosion(found == TISSUES.index(tissue))
    mask = core if core.sum() > 30 else found == TISSUES.index(tissue)
    return float(np.median(value[mask]) / np.median(value[found == TISSUES.index("white matter")]))


# Brightness by sequence, as every textbook orders it.
@pytest.mark.parametrize(
    ("sequence", "darker", "brighter"),
    [
        ("t1", "csf", "grey matter"), ("t1", "grey matter", "white matter"), ("t1", "white matter", "fat"),
        ("t1ce", "grey matter", "white matter"), ("t1ce", "white matter", "vessel"), ("t1ce", "csf", "grey matter"),
        ("t2", "white matter", "grey matter"), ("t2", "grey matter", "csf"), ("t2", "white matter", "vitreous"),
        ("flair", "csf", "white matter"), ("flair", "white matter", "grey matter"), ("flair", "vitreous", "fat"),
        ("t1", "bone", "csf"), ("t2", "bone", "white matter"), ("flair", "air", "csf"), ("t1", "air", "bone"),
    ],
)  # fmt: skip
def test_tissues_are_ordered_as_the_sequence_says(head, sequence, darker, brighter):
    assert signal(head, sequence, darker) < signal(head, sequence, brighter)


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [("grey matter", 350, 900), ("white matter", 250, 800), ("csf", 60, 600), ("deep grey matter", 5, 60)],
)
def test_tissues_have_plausible_volumes(head, tissue, low, high):
    found = head.visits[0].tissue
    voxel = abs(np.linalg.det(found.affine[:3, :3])) / 1000
    assert low < (found.array == TISSUES.index(tissue)).sum() * voxel < high


def test_the_head_is_closed_from_brain_to_skin(head):
    tissue = head.visits[0].tissue.array
    brain = np.isin(tissue, [TISSUES.index(t) for t in ("grey matter", "white matter")])
    outside = ndimage.label(tissue == 0)[0] == ndimage.label(tissue == 0)[0][0, 0, -1]
    gap = ndimage.distance_transform_edt(~outside, head.labels.spacing)[brain]
    assert gap.min() > 5, "skull and scalp lie between brain and air"


def test_both_hemispheres_are_there_and_differ(head):
    white = head.visits[0].tissue.array == TISSUES.index("white matter")
    x = head.labels.to_world(np.argwhere(white))[:, 0]
    assert 0.9 < (x > 0).sum() / (x < 0).sum() < 1.1
    mirrored = white[::-1]
    assert 2 * (white & mirrored).sum() / (white.sum() + mirrored.sum()) < 0.97


def test_no_two_heads_are_folded_alike(head):
    other = case("mri", 6, shape=FINE)
    grey = [m.visits[0].tissue.array == TISSUES.index("grey matter") for m in (head, other)]
    assert 2 * (grey[0] & grey[1]).sum() / (grey[0].sum() + grey[1].sum()) < 0.85


def test_ventricles_widen_with_age():
    made = [case("mri", seed) for seed in range(10, 22)]
    ages = [m.patient.age for m in made]
    share = []
    for m in made:
        tissue = m.visits[0].tissue.array
        middle = tissue[20:44, 16:48, 28:46]
        share.append((middle == TISSUES.index("csf")).mean())
    assert np.corrcoef(ages, share)[0, 1] > 0.5


def test_sequences_share_one_grid_and_one_head(head):
    volumes = list(head.volumes.values())
    assert tuple(head.volumes) == SEQUENCES
    assert all(np.array_equal(v.affine, volumes[0].affine) and v.shape == volumes[0].shape for v in volumes)
    outline = [v.array > 0.35 * np.median(v.array[40:60, 40:60, 40:60]) for v in volumes[:2]]
    assert (outline[0] == outline[1]).mean() > 0.97


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_noise_is_rician(head, sequence):
    """In air the magnitude of complex noise has a mean 1.91 times its spread (Rayleigh)."""
    air = head.volumes[sequence].array[2:20, -8:, -20:].astype(float).ravel()
    assert air.min() >= 0
    assert air.mean() / air.std() == pytest.approx(1.91, rel=0.15)


def test_a_tumor_changes_the_pixels_where_the_truth_says(head, ill):
    mask = ill.visits[0].instances.array > 0
    for sequence in SEQUENCES:
        before, after = (m.volumes[sequence].array.astype(float) for m in (head, ill))
        change = np.abs(after - before)
        assert change[mask].mean() > 3 * change[~grown(mask, 12)].mean(), sequence
    labels = ill.labels.array
    assert set(np.unique(labels)) == {0, 1, 2, 4}
    assert not head.labels.array.any()


@pytest.mark.parametrize(
    ("sequence", "label", "low", "high"),
    [
        ("t1ce", 4, 1.2, 2.0), ("t1ce", 1, 0.2, 0.75), ("flair", 2, 1.5, 2.6), ("flair", 1, 0.6, 1.4),
        ("t2", 1, 1.8, 3.2), ("t2", 2, 1.6, 2.8), ("t1", 2, 0.5, 0.9), ("t1", 4, 0.45, 0.8),
    ],
)  # fmt: skip
def test_each_part_of_a_tumor_looks_as_it_should(ill, sequence, label, low, high):
    value, labels = ill.volumes[sequence].array, ill.labels.array
    white = ill.visits[0].tissue.array == TISSUES.index("white matter")
    part = labels == label
    core = ndimage.binary_erosion(part)
    part = core if core.sum() > 40 else part
    assert low < np.median(value[part]) / np.median(value[white]) < high


def test_necrosis_lies_in_the_rim_and_the_rim_in_edema(ill):
    labels = ill.labels.array
    touches = ndimage.binary_dilation(labels == 1) & (labels != 1)
    assert (labels[touches] == 4).mean() > 0.9
    core = (labels == 1) | (labels == 4)
    around = ndimage.binary_dilation(core) & ~core
    assert (labels[around] == 2).mean() > 0.5


def test_a_solid_tumor_has_less_necrosis():
    parts = []
    for wish in (NECROTIC, SOLID):
        labels = case("mri", 5, wish).labels.array
        parts.append((labels == 1).sum() / ((labels == 1) | (labels == 4)).sum())
    assert parts[0] > 2 * parts[1]


def test_edema_keeps_to_the_brain(ill, head):
    tissue = head.visits[0].tissue.array[ill.labels.array == 2]
    brain = [TISSUES.index(t) for t in ("grey matter", "white matter", "deep grey matter", "csf", "vessel")]
    assert np.isin(tissue, brain).mean() > 0.97


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("place", ["frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe"])
def test_tumors_lie_in_their_lobe(place, side):
    made = case("mri", 5, f"brain tumor:size=25,place={place},side={side}")
    core = (made.labels.array == 1) | (made.labels.array == 4)
    x, y, z = made.labels.to_world(np.argwhere(core).mean(0))
    assert (x > 0) == (side == "right")
    low, high = {"frontal lobe": (15, 75), "parietal lobe": (-65, -5), "temporal lobe": (-35, 25),
                 "occipital lobe": (-95, -35)}[place]  # fmt: skip
    assert low < y < high
    if place == "temporal lobe":
        assert z < 10


@pytest.mark.parametrize("size", [25, 40, 60])
def test_a_tumor_is_about_as_large_as_asked(size):
    """Its lobes add up to a third; the truth tells what was measured."""
    (record,) = case("mri", 7, f"brain tumor:size={size},place=frontal lobe", shape=FINE).truth.visits[0]["findings"]
    assert record["measurements"]["longest_axial_diameter_mm"] == pytest.approx(1.15 * size, rel=0.18)


def test_the_tissue_map_says_what_the_labels_say(ill):
    tissue, labels = ill.visits[0].tissue.array, ill.labels.array
    for label, name in ((1, "necrosis"), (4, "enhancing tumor"), (2, "edema")):
        assert (tissue[labels == label] == TISSUES.index(name)).mean() > 0.8
    assert (labels[tissue == TISSUES.index("enhancing tumor")] == 4).mean() > 0.8
