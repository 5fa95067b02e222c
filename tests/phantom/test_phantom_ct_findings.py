"""Findings on CT: each changes the pixels where the truth says and nowhere else, and looks as it is described."""

import numpy as np
import pytest
from phantom_cases import PHASE_SEEDS, case, grown, middle, organ
from scipy import ndimage

from attending.errors import InputError
from attending.phantom import KINDS, Request, generate
from attending.phantom.finding import draw_findings
from attending.phantom.lesion import FOCAL, lesion_center, place_lesions

SEED = PHASE_SEEDS["portal"]
ON_CT = [k for k, v in KINDS.items() if "ct" in v.studies]
WISH = {
    "liver lesion": "liver lesion:size=30,place=segment V,density=hypodense",
    "lung nodule": "lung nodule:size=24,place=right upper lobe,density=solid",
    "kidney lesion": "kidney lesion:size=26,side=left,place=lower pole,density=cystic",
    "pancreas lesion": "pancreas lesion:size=22,place=body,density=hypodense",
    "effusion": "effusion:size=100,side=right",
    "pneumothorax": "pneumothorax:size=40,side=left",
    "consolidation": "consolidation:size=70,place=left lower lobe,density=dense",
    "atelectasis": "atelectasis:size=80,side=left",
    "edema": "edema:size=85",
    "fracture": "fracture:size=24,side=right,place=rib 6",
    "cardiomegaly": "cardiomegaly:size=185",
}


def pair(kind):
    return case("ct", SEED, WISH[kind]), case("ct", SEED)


def marked(made, number=1):
    return made.visits[-1].instances.array == number


def value(made):
    return made.volumes["ct"].array.astype(np.int32)


@pytest.mark.parametrize("kind_", ON_CT)
def test_it_changes_the_pixels_where_the_truth_says(kind_):
    there, gone = pair(kind_)
    mask = marked(there)
    change = np.abs(value(there) - value(gone))
    assert change[mask].mean() > 12
    assert change[mask].mean() > 8 * change[~grown(mask, 2)].mean()


def touched(there, gone):
    """The finding; of a fracture the whole rib, whose front piece is displaced."""
    mask = marked(there)
    if there.findings[0].kind == "fracture":
        mask = mask | organ(there, "right rib 6") | organ(gone, "right rib 6")
    return mask


@pytest.mark.parametrize("kind_", [k for k in ON_CT if k not in ("cardiomegaly", "edema", "pneumothorax")])
def test_it_changes_nothing_elsewhere(kind_):
    """But for soft edges; a large heart moves the lungs, and edema and gas fade out or move the lung's edge."""
    there, gone = pair(kind_)
    far = ~grown(touched(there, gone), 3)
    assert (np.abs(value(there) - value(gone))[far] > 60).sum() <= 2


@pytest.mark.parametrize("kind_", ["edema", "pneumothorax", "cardiomegaly"])
def test_it_stays_in_the_chest(kind_):
    there, gone = pair(kind_)
    changed = np.abs(value(there) - value(gone)) > 60
    assert changed.any()
    hip = organ(gone, "left hip")
    assert not changed[:, :, : int(np.argwhere(hip)[:, 2].max())].any()


@pytest.mark.parametrize("kind_", ON_CT)
def test_labels_outside_the_finding_are_those_of_the_healthy_patient(kind_):
    if kind_ == "cardiomegaly":
        pytest.skip("a large heart moves the lungs")
    there, gone = pair(kind_)
    differ = there.labels.array != gone.labels.array
    assert (differ & ~grown(touched(there, gone), 1)).sum() <= 0.02 * max(50, marked(there).sum())


@pytest.mark.parametrize("kind_", ON_CT)
def test_the_finding_has_its_own_label(kind_):
    there, _ = pair(kind_)
    labels = there.labels.array[marked(there)]
    assert (labels == there.findings[0].label).mean() > 0.85


# HU inside, smaller than the noise of the mean.
@pytest.mark.parametrize(
    ("wish", "low", "high"),
    [
        ("liver lesion:size=36,place=segment V,margin=smooth,density=cystic", -5, 25),
        ("liver lesion:size=36,place=segment V,margin=smooth,density=hypodense", 45, 85),
        ("liver lesion:size=36,place=segment V,margin=smooth,density=hyperdense", 150, 190),
        ("kidney lesion:size=30,side=left,density=cystic", -5, 30),
        ("kidney lesion:size=30,side=left,density=solid", 70, 110),
        ("pancreas lesion:size=24,place=body,density=cystic", -10, 35),
        ("pancreas lesion:size=24,place=body,density=hypodense", 30, 70),
        ("lung nodule:size=30,place=left upper lobe,margin=smooth,density=solid", 10, 60),
        ("lung nodule:size=30,place=left upper lobe,margin=smooth,density=ground-glass", -640, -480),
        ("lung nodule:size=30,place=left upper lobe,margin=smooth,density=calcified", 220, 360),
        ("effusion:size=120,side=left", -5, 35),
        ("consolidation:size=90,place=right lower lobe,density=dense", -60, 60),
    ],
)
def test_density_is_as_described(wish, low, high):
    made = case("ct", SEED, wish)
    core = ndimage.binary_erosion(marked(made))
    assert low <= np.median(value(made)[core if core.any() else marked(made)]) <= high


@pytest.mark.slow
@pytest.mark.parametrize("place", KINDS["lung nodule"].places)
def test_nodules_lie_in_their_lobe(place):
    there, gone = case("ct", SEED, f"lung nodule:size=14,place={place}"), case("ct", SEED)
    lobe = place.split()
    name = f"{lobe[0]} lung {lobe[1]} lobe"
    assert (organ(gone, name) & marked(there)).sum() > 0.9 * marked(there).sum()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["segment II", "segment IV", "segment VI", "segment VIII"])
def test_liver_lesions_lie_in_the_liver_where_their_segment_is(place):
    there, gone = case("ct", SEED, f"liver lesion:size=20,place={place}"), case("ct", SEED)
    assert (organ(gone, "liver") & marked(there)).sum() > 0.7 * marked(there).sum()
    at, liver = middle(there, marked(there)), middle(gone, organ(gone, "liver"))
    assert (at[0] < liver[0]) == (place in ("segment II", "segment IV"))
    if place in ("segment VI", "segment VIII"):
        assert (at[2] > liver[2]) == (place == "segment VIII")


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind_", ["kidney lesion", "effusion", "pneumothorax", "atelectasis", "fracture"])
def test_sides_are_the_patients(kind_, side):
    made = case("ct", SEED, f"{kind_}:side={side}")
    assert made.findings[0].side == side
    assert (middle(made, marked(made))[0] > 0) == (side == "right")


def test_poles_of_a_kidney():
    wishes = [f"kidney lesion:size=16,side=right,place={place}" for place in KINDS["kidney lesion"].places]
    heights = [middle(made, marked(made))[2] for made in (case("ct", SEED, wish) for wish in wishes)]
    assert heights == sorted(heights, reverse=True)


def test_head_body_and_tail_of_the_pancreas_run_from_right_to_left():
    across = [
        middle(made, marked(made))[0]
        for made in (case("ct", SEED, f"pancreas lesion:size=14,place={p}") for p in KINDS["pancreas lesion"].places)
    ]
    assert across == sorted(across, reverse=True)


@pytest.mark.parametrize(("kind_", "organs"), FOCAL.items())
def test_focal_lesions_stay_within_their_organ(kind_, organs):
    there, gone = pair(kind_)
    inside = np.isin(gone.labels.array[marked(there)], [*organs, 17, 25])
    assert inside.mean() > (0.5 if kind_ == "kidney lesion" else 0.95), "a kidney's may bulge into fat"


def test_fluid_sinks_to_the_back_and_gas_rises():
    fluid, gas = (middle(m, marked(m)) for m in (pair("effusion")[0], pair("pneumothorax")[0]))
    lung = middle(pair("effusion")[1], organ(pair("effusion")[1], "right lung lower lobe"))
    assert fluid[1] < lung[1]
    assert gas[2] > fluid[2]


def test_a_larger_effusion_holds_more():
    amounts = []
    for size in (50, 140):
        made = case("ct", SEED, f"effusion:size={size},side=left")
        (record,) = made.truth.visits[0]["findings"]
        amounts.append(record["measurements"]["volume_ml"])
        assert record["density"] == {50: "small", 140: "large"}[size]
    assert amounts[0] < 0.5 * amounts[1]


def test_a_large_heart_is_larger():
    there, gone = pair("cardiomegaly")
    width = [np.ptp(m.labels.to_world(np.argwhere(organ(m, "heart")))[:, 0]) for m in (there, gone)]
    assert width[0] > 1.15 * width[1]
    assert organ(there, "heart").sum() > 1.3 * organ(gone, "heart").sum()


@pytest.mark.slow
def test_spikes_reach_out_of_a_spiculated_nodule():
    """At the usual resolution: in thick voxels they drown."""
    wish = "lung nodule:size=24,place=right upper lobe,density=solid,margin="
    smooth, spiculated = (case("ct", SEED, wish + margin, shape=(160, 160, 128)) for margin in ("smooth", "spiculated"))
    far = ndimage.distance_transform_edt(~marked(smooth), smooth.labels.spacing)
    change = (value(spiculated) - value(smooth))[(far > 1.5) & (far < 9)]
    assert (change > 150).mean() > 2 * (change < -150).mean() > 0  # the second is noise and where the outline differs
    assert (change > 150).mean() > 0.03


@pytest.mark.parametrize("count", [2, 4])
def test_as_many_as_asked_for_and_apart(count):
    made = case("ct", SEED, f"lung nodule:size=12,count={count}")
    assert len(made.findings) == count
    centres = [middle(made, marked(made, i + 1)) for i in range(count)]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
    assert min(gaps) > 15
    assert [f.id for f in made.findings] == [f"f{i + 1}" for i in range(count)]


def test_lesions_keep_clear_of_each_other_for_many_seeds():
    for seed in range(60):
        found = place_lesions(draw_findings(seed, "ct", [Request("liver lesion", count=3, size=25)], 1), False)
        for i, one in enumerate(found):
            for other in found[:i]:
                assert np.linalg.norm(np.subtract(one.center, other.center)) > (one.size + other.size) / 2 + 10


def test_a_lesion_keeps_its_place_whatever_its_size():
    small, large = (draw_findings(4, "ct", [Request("liver lesion", size=s)], 1)[0] for s in (10, 40))
    assert lesion_center(small) == pytest.approx(lesion_center(large))


def test_a_finding_that_another_hides_is_refused_when_asked_for():
    """The large effusion fills the place of the nodule."""
    hidden = ["effusion:side=right,size=150", "effusion:side=right,size=150"]
    with pytest.raises(InputError, match="hidden by another finding") as caught:
        generate("ct", 2, findings=hidden, shape=(48, 48, 48))
    assert caught.value.field == "findings"
    assert caught.value.value == "effusion (right)"


def test_drawn_findings_are_all_visible_and_numbered_without_gaps():
    for seed in (21, 22, 23):
        made = case("ct", seed, drawn=True, shape=(48, 48, 48))
        present = set(np.unique(made.visits[0].instances.array)) - {0}
        assert present == set(range(1, len(made.visits[0].findings) + 1))
        assert {f.id for f in made.findings} == {f["id"] for f in made.truth.visits[0]["findings"]}
