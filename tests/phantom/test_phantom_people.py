"""Patients: plausible, independent of disease and hospital unless a tie is asked for, and kept apart by split."""

import numpy as np
import pytest
from phantom_cases import case

from attending.errors import InputError
from attending.phantom import KINDS, SPLITS, generate, seeds_of, split_of
from attending.phantom.finding import draw_findings
from attending.phantom.patient import ADULT, Tie, draw_patient

MANY = 3000


@pytest.fixture(scope="module")
def people():
    return [draw_patient(seed) for seed in range(MANY)]


@pytest.fixture(scope="module", params=["ct", "mri", "cxr"])
def disease(request):
    return request.param, [{f.kind for f in draw_findings(seed, request.param, None, 1)} for seed in range(MANY)]


def test_they_are_adults_of_both_sexes(people):
    ages = np.array([p.age for p in people])
    assert (ages.min(), ages.max()) == ADULT
    assert np.histogram(ages, 7)[0].min() > 0.8 * MANY / 7, "all ages alike"
    assert 0.46 < np.mean([p.sex == "F" for p in people]) < 0.54


def test_men_are_taller_and_habitus_follows_fat(people):
    height = {sex: np.array([p.height for p in people if p.sex == sex]) for sex in "FM"}
    assert 10 < height["M"].mean() - height["F"].mean() < 16
    assert all(148 <= h <= 198 for tall in height.values() for h in tall)
    fat = {h: [p.fat for p in people if p.habitus == h] for h in ("slim", "average", "large")}
    assert max(fat["slim"]) < min(fat["average"])
    assert max(fat["average"]) < min(fat["large"])


def test_names_are_their_own(people):
    assert len({p.id for p in people}) == MANY
    woman = next(p for p in people if p.sex == "F")
    assert woman.words == f"{woman.age}-year-old woman"


def test_size_follows_height_and_girth(people):
    scale = np.array([p.scale for p in people])
    assert np.corrcoef(scale[:, 2], [p.height for p in people])[0, 1] > 0.999
    assert np.corrcoef(scale[:, 0], [p.girth for p in people])[0, 1] > 0.8
    assert (scale > 0.75).all()
    assert (scale < 1.25).all()


def test_no_finding_goes_with_sex_age_or_build(people, disease):
    """Each share lies within four standard errors of the other: about one false alarm in 16,000 comparisons."""
    study, found = disease
    groups = {
        "sex": np.array([p.sex == "F" for p in people]), "age": np.array([p.age > 55 for p in people]),
        "height": np.array([p.height > 170 for p in people]), "large": np.array([p.habitus == "large" for p in people]),
    }  # fmt: skip
    for kind in (k for k, v in KINDS.items() if study in v.studies):
        has = np.array([kind in f for f in found])
        for name, group in groups.items():
            one, other = has[group], has[~group]
            error = np.sqrt(has.mean() * (1 - has.mean()) * (1 / len(one) + 1 / len(other)))
            assert abs(one.mean() - other.mean()) < 4 * error, (kind, name)


def test_every_kind_is_drawn_and_some_have_none(disease):
    study, found = disease
    kinds = {k for k, v in KINDS.items() if study in v.studies}
    assert set().union(*found) == kinds
    assert 0.2 < np.mean([not f for f in found]) < 0.45


def test_findings_do_not_depend_on_the_hospital():
    made = [case("mri", seed, style=style, drawn=True, shape=(48, 48, 48)) for seed in (30, 31, 32) for style in "AC"]
    for one, other in zip(made[::2], made[1::2], strict=True):
        assert one.findings == other.findings
        assert one.patient == other.patient


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_tie_moves_the_share_it_says(people, share):
    tied = [draw_patient(seed, Tie("effusion", sex="F", share=share)) for seed in range(MANY)]
    women = np.mean([p.sex == "F" for p in tied])
    assert women == pytest.approx(share + (1 - share) * 0.5, abs=0.03)
    if share == 0:
        assert tied == people


def test_a_tie_to_an_age_leaves_sex_and_height(people):
    tied = [draw_patient(seed, Tie("edema", ages=(80, 90))) for seed in range(300)]
    assert all(80 <= p.age <= 90 for p in tied)
    assert [(p.sex, p.height, p.fat) for p in tied] == [(p.sex, p.height, p.fat) for p in people[:300]]


def test_a_planted_tie_links_finding_and_sex_and_its_absence_does_not():
    """The whole path: among radiographs with the finding nearly all are women, among the others half."""
    seeds = [s for s in range(400) if draw_patient(s).sex == "M"][:4]
    tied = [generate("mri", s, findings=["brain tumor"], shape=(48, 48, 48), tie="brain tumor:sex=F") for s in seeds]
    free = [generate("mri", s, findings=[], shape=(48, 48, 48), tie="brain tumor:sex=F") for s in seeds]
    assert {c.patient.sex for c in tied} == {"F"}
    assert {c.patient.sex for c in free} == {"M"}
    assert all(c.truth.patient["sex"] == c.patient.sex for c in (*tied, *free))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("effusion:sex=F", (("F"), None, 1.0)), ("effusion:sex=M,share=0.25", ("M", None, 0.25)),
        ("edema:age=70-90", (None, (70, 90), 1.0)), ("edema:age=20-20,sex=F,share=0", ("F", (20, 20), 0.0)),
    ],
)  # fmt: skip
def test_ties_are_read(text, fields):
    tie = Tie.parse(text, KINDS)
    assert (tie.sex, tie.ages, tie.share) == fields


@pytest.mark.parametrize(
    "text",
    ["", ":", "effusion:", "effusion:age=90-70", "effusion:age=a-b", "effusion:share=nan,sex=F", "effusion:sex=f",
     "effusion:sex", "Effusion:sex=F", "effusion:age=70-80-90", "effusion:share=,sex=F"],
)  # fmt: skip
def test_ties_that_are_none_are_refused(text):
    with pytest.raises(InputError) as caught:
        Tie.parse(text, KINDS)
    assert caught.value.field == "tie"


# Splits.


def test_splits_cover_every_seed_once():
    edges = sorted((r.start, r.stop) for r in SPLITS.values())
    assert edges[0][0] == 0
    assert edges[-1][1] == 1_000_000
    assert [stop for _, stop in edges[:-1]] == [start for start, _ in edges[1:]]


@pytest.mark.parametrize("split", SPLITS)
def test_seeds_of_a_split_are_of_that_split(split):
    last = len(SPLITS[split])
    for first, count in ((0, 3), (last - 2, 2), (5, 0)):
        assert all(split_of(s) == split for s in seeds_of(split, first, count))
        assert len(seeds_of(split, first, count)) == count


@pytest.mark.parametrize("seed", [-1, 1_000_000, 10**12])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(InputError, match="0 to 999999"):
        split_of(seed)


@pytest.mark.parametrize(
    ("split", "first", "count"), [("train", -1, 2), ("test", 49_999, 2), ("exam", 0, 1), ("test", 0, -1)]
)
def test_seeds_beyond_a_split_are_refused(split, first, count):
    with pytest.raises(InputError):
        seeds_of(split, first, count)
