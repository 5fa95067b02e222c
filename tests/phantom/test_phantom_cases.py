"""Cases: anatomy in its place, findings as asked for, the same bytes in every process, and clear refusals."""

import os
import subprocess
import sys

import numpy as np
import pytest
from phantom_cases import SHAPES, WISHES, digest

from attending.errors import InputError
from attending.phantom import KINDS, Request, generate, label_names, stream_cases, styles
from attending.phantom.finding import at_visit, draw_findings
from attending.phantom.patient import Tie, draw_patient

CT = (72, 72, 64)


def organ(case, name):
    ids = {v: k for k, v in label_names("ct").items()}
    return case.labels.array == ids[name]


def middle(case, mask):
    return case.labels.to_world(np.argwhere(mask).mean(0))


@pytest.fixture(scope="module")
def trunk():
    return generate("ct", 13, "A", findings=[], shape=(96, 96, 90))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("liver", 900, 2600), ("spleen", 80, 420), ("left kidney", 80, 280), ("right kidney", 80, 280),
        ("pancreas", 40, 140), ("heart", 300, 1000), ("stomach", 100, 700), ("aorta", 60, 350),
        ("left lung upper lobe", 400, 2200),
    ],
)  # fmt: skip
def test_organs_have_plausible_volumes(trunk, name, low, high):
    voxel = abs(np.linalg.det(trunk.labels.affine[:3, :3])) / 1000
    assert low < organ(trunk, name).sum() * voxel < high


def test_organs_lie_where_they_belong(trunk):
    liver, spleen = middle(trunk, organ(trunk, "liver")), middle(trunk, organ(trunk, "spleen"))
    assert liver[0] > 30 > -30 > spleen[0]
    assert spleen[1] < middle(trunk, organ(trunk, "stomach"))[1]
    assert middle(trunk, organ(trunk, "heart"))[0] < 0
    assert middle(trunk, organ(trunk, "heart"))[2] > liver[2] > middle(trunk, organ(trunk, "colon"))[2]
    levels = [middle(trunk, organ(trunk, f"vertebrae {n}"))[2] for n in ("T4", "T10", "L1", "L4")]
    assert levels == sorted(levels, reverse=True)
    assert middle(trunk, organ(trunk, "right rib 6"))[0] > 40
    assert middle(trunk, organ(trunk, "left rib 6"))[0] < -40


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("liver", 40, 140), ("left lung lower lobe", -960, -700), ("spinal cord", 0, 90), ("vertebrae L3", 80, 500)],
)
def test_tissues_have_plausible_hu(trunk, name, low, high):
    assert low < np.median(trunk.volumes["ct"].array[organ(trunk, name)]) < high


def test_patients_differ(trunk):
    other = generate("ct", 12, "A", findings=[], shape=(96, 96, 90))
    a, b = organ(trunk, "liver"), organ(other, "liver")
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) < 0.97


def test_every_label_has_a_name(small, kind):
    if kind == "cxr":
        assert len(small.visits[0].channels) == small.labels.array.shape[0]
    else:
        assert set(np.unique(small.labels.array)) - {0} <= set(label_names(kind))


def test_same_seed_same_bytes(small, kind):
    assert digest(generate(kind, 3, "A", findings=WISHES[kind], shape=SHAPES[kind])) == digest(small)


def test_same_bytes_in_another_process(small, kind):
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from phantom_cases import digest\nfrom attending.phantom import generate\n"
        f"print(digest(generate({kind!r}, 3, 'A', findings={WISHES[kind]!r}, shape={SHAPES[kind]!r})))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert ran.stdout.strip() == digest(small)


def test_seeds_and_styles_change_the_pixels_but_a_style_not_the_patient():
    one, two = (generate("ct", 5, s, findings=["liver lesion"], shape=(48, 48, 48)) for s in "AB")
    assert one.patient == two.patient
    assert one.findings == two.findings
    assert digest(one) != digest(two)


def test_removing_a_finding_changes_only_its_surroundings(small, healthy, kind):
    if kind != "ct":
        pytest.skip("mass effect and exposure change a whole brain or radiograph")
    changed = np.abs(small.volumes["ct"].array.astype(int) - healthy.volumes["ct"].array) > 40
    near = np.zeros(changed.shape, bool)
    for box in (
        [slice(max(0, s.start - 6), s.stop + 6) for s in _box(small.visits[0].instances.array == i)] for i in (1, 2)
    ):
        near[tuple(box)] = True
    assert changed.any()
    assert not changed[~near].any()


def _box(mask):
    return [slice(int(a.min()), int(a.max()) + 1) for a in np.nonzero(mask)]


@pytest.mark.parametrize("kind_", [k for k, v in KINDS.items() if "ct" in v.studies])
def test_every_finding_shows_on_ct(kind_):
    case = generate("ct", 7, "A", findings=[kind_ + ":size=" + str(KINDS[kind_].usual)], shape=CT)
    ones = case.visits[0].instances.array == 1
    assert ones.any()
    label = case.findings[0].label
    if kind_ != "edema":
        assert (case.labels.array[ones] == label).mean() > 0.9


@pytest.mark.parametrize("kind_", [k for k, v in KINDS.items() if "cxr" in v.studies])
def test_every_finding_shows_on_a_radiograph(kind_):
    case, plain = (generate("cxr", 8, "A", findings=f, shape=(160, 1, 160)) for f in ([kind_], []))
    mask = case.visits[0].instances.array[0] > 0
    assert mask.any()
    change = np.abs(case.volumes["frontal"].array.astype(float) - plain.volumes["frontal"].array)
    assert change[mask].mean() > 1.5 * change[~mask].mean()


@pytest.mark.parametrize("size", [20, 40])
def test_a_lesion_is_as_large_as_asked(size):
    case = generate(
        "ct", 9, "A", findings=[f"liver lesion:size={size},place=segment V,margin=smooth"], shape=(128, 128, 96)
    )
    assert case.truth.visits[0]["findings"][0]["measurements"]["longest_axial_diameter_mm"] == pytest.approx(
        size, abs=5
    )


def test_a_tumor_holds_necrosis_in_a_rim_in_edema():
    case = generate("mri", 4, "A", findings=["brain tumor:size=45,density=necrotic"], shape=(96, 96, 96))
    labels = case.labels.array
    t1ce, flair = (case.volumes[n].array.astype(float) for n in ("t1ce", "flair"))
    assert {1, 2, 4} <= set(np.unique(labels).tolist())
    assert t1ce[labels == 4].mean() > 1.5 * t1ce[labels == 1].mean()
    assert flair[labels == 2].mean() > 1.3 * flair[labels == 1].mean()


def test_sequences_are_registered(small, kind):
    if kind == "mri":
        assert len({v.affine.tobytes() + bytes(str(v.shape), "ascii") for v in small.volumes.values()}) == 1


def test_visits(two_visits):
    first, last = two_visits.visits
    assert first.date < last.date
    assert first.findings[0].size < last.findings[0].size
    counts = [int((v.instances.array > 0).sum()) for v in (first, last)]
    assert counts[1] > 1.1 * counts[0]


@pytest.mark.parametrize("change", ["new", "gone", "stable"])
def test_changes(change):
    found = draw_findings(1, "ct", [Request("liver lesion", change=change)], 2)
    before, after = (at_visit(found, i, 2) for i in (0, 1))
    assert (len(before), len(after)) == {"new": (0, 1), "gone": (1, 0), "stable": (1, 1)}[change]
    if change == "stable":
        assert before[0].size == after[0].size


def test_demographics_are_independent_of_disease():
    drawn = [(draw_patient(s), draw_findings(s, "cxr", None, 1)) for s in range(1500)]
    sick = [bool(f) for _, f in drawn]
    share = [np.mean([s for s, (p, _) in zip(sick, drawn, strict=True) if p.sex == sex]) for sex in "FM"]
    assert abs(share[0] - share[1]) < 0.08
    ages = [np.mean([p.age for s, (p, _) in zip(sick, drawn, strict=True) if s == state]) for state in (True, False)]
    assert abs(ages[0] - ages[1]) < 4


def test_a_planted_tie_moves_only_the_patients_who_have_the_finding():
    tie = Tie.parse("effusion:sex=F,share=0.9", KINDS)
    tied = [draw_patient(seed, tie) for seed in range(1500)]
    assert 0.93 < np.mean([p.sex == "F" for p in tied]) < 0.97, "0.9, and half of the rest"
    old = [draw_patient(seed, Tie.parse("edema:age=80-90", KINDS)) for seed in range(200)]
    assert {80, 90} <= {p.age for p in old} <= set(range(80, 91))
    assert 0.4 < np.mean([p.sex == "F" for p in old]) < 0.6
    man = next(seed for seed in range(100) if draw_patient(seed).sex == "M")
    made = {
        wish: generate("cxr", man, findings=[wish], shape=SHAPES["cxr"], tie="effusion:sex=F").patient.sex
        for wish in ("effusion", "cardiomegaly")
    }
    assert made == {"effusion": "F", "cardiomegaly": "M"}


@pytest.mark.parametrize(
    "text",
    ["gout:sex=F", "effusion", "effusion:sex=X", "effusion:age=10-20", "effusion:age=60", "effusion:sex=F,share=2",
     "effusion:size=3"],
)  # fmt: skip
def test_an_impossible_tie_is_refused(text):
    with pytest.raises(InputError, match="expected") as caught:
        generate("cxr", 0, tie=text)
    assert caught.value.field == "tie"


def test_streaming_makes_the_same_cases():
    shape_free = [c.id for c in stream_cases("cxr", range(2), ["A", "B"], findings=[])]
    assert shape_free == ["cxr-A-00000000", "cxr-B-00000001"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "pet"}, "ct, mri, cxr"),
        ({"style": "Z"}, "A, B, C, D"),
        ({"seed": -1}, "0 to 999999"),
        ({"visits": 3}, "1 or 2"),
        ({"shape": (8, 8, 8)}, "48 to 512"),
        ({"kind": "cxr", "shape": (200, 2, 200)}, "(n, 1, n)"),
        ({"findings": ["liver lesion:size=400"]}, "8 to 90 mm"),
        ({"findings": ["brain tumor"]}, "liver lesion"),
        ({"findings": ["liver lesion:count=9"]}, "1 to 4"),
        ({"findings": ["liver lesion:side=right"]}, "nothing here"),
        ({"findings": ["lung nodule:place=left elbow"]}, "right upper lobe"),
        ({"findings": ["liver lesion:size=big"]}, "a number"),
        ({"findings": ["liver lesion:colour=red"]}, "allowed are"),
        ({"findings": ["liver lesion:change=new"]}, "two visits"),
        ({"findings": ["pancreas lesion:place=head,size=26", "pancreas lesion:place=head,size=26"]}, "does not fit"),
    ],
)
def test_impossible_requests_say_what_is_allowed(changes, says):
    arguments = {"kind": "ct", "seed": 1, "style": "A"} | changes
    with pytest.raises(InputError) as caught:
        generate(**arguments)
    assert says in str(caught.value)


def test_styles_are_named():
    assert list(styles()) == ["A", "B", "C", "D"]
