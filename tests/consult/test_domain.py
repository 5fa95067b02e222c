"""Whether a study is like those that a model learned from: phantoms are, real files, photographs and noise are not."""

import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from scripted import ct, cxr, mri

from attending.consult import Domain
from attending.consult.domain import SLICES, Fit, looks, spread, without_note
from attending.corpora.cases import study_of
from attending.corpora.phantom_cases import phantom_cases
from attending.errors import InputError
from attending.imaging import Image2D, Picture, Study, Volume, open_study, picture_of

DATA = files("attending.consult").joinpath("data/domain.safetensors")
DOMAIN = Domain.load()
FEATURES = len(DOMAIN.fits["CT"].mean)


def picture(grey, **facts):
    return Picture(np.repeat(np.asarray(grey, np.uint8)[..., None], 3, 2), **facts)


def fit(limit=2.0, mean=0.0, whiten=1.0):
    return Fit(np.full(FEATURES, mean), np.eye(FEATURES) * whiten, limit)


@cache
def phantom(kind):
    """A patient of the test split, whom nothing was fitted on."""
    return phantom_cases(kind, [975_001], ["B"])[0].open().study


# Against what was fitted.


@pytest.mark.parametrize(("kind", "modality"), [("ct", "CT"), ("mri", "MRI"), ("cxr", "CXR")])
def test_a_phantom_of_the_test_split_is_alike(kind, modality):
    judged = DOMAIN.judge(phantom(kind))
    assert (judged.unlike, judged.text, judged.note, judged.modality) == (False, "", "", modality)
    assert 0.3 < judged.score < judged.limit


@pytest.mark.parametrize("name", ["CT_small", "MR_small", "examples_overlay"])
def test_real_dicom_is_unlike_with_its_score(name):
    from pydicom.data import get_testdata_file

    judged = DOMAIN.judge(open_study(get_testdata_file(f"{name}.dcm")))
    assert judged.unlike
    assert judged.score > 1.5 * judged.limit
    assert re.fullmatch(
        r"This study is unlike the synthetic ones this model learned from \(score \d+\.\d, limit \d+\.\d\); "
        r"what follows may well be wrong\.",
        judged.text,
    )
    assert f"score {judged.score:.1f}, limit {judged.limit:.1f}" in judged.text


@pytest.mark.parametrize("modality", ["CT", "MRI", "CXR"])
@pytest.mark.parametrize("what", ["noise", "black", "white", "one pixel", "photograph", "coloured"])
def test_what_is_no_scan_is_unlike(modality, what):
    if what in ("photograph", "coloured"):
        skimage = pytest.importorskip("skimage")
        shown = Picture(skimage.data.astronaut()) if what == "coloured" else picture(skimage.data.camera())
    else:
        shown = picture(
            {
                "noise": np.random.default_rng(0).integers(0, 256, (160, 160)),
                "black": np.zeros((160, 160)),
                "white": np.full((160, 160), 255),
                "one pixel": [[77]],
            }[what]
        )
    assert DOMAIN.judge(None, [shown], modality).unlike


def test_a_ct_or_a_radiograph_turned_to_its_negative_is_unlike():
    one = phantom("ct").series[0].volume
    turned = study_of({"ct": Volume(255 - one.array, one.affine)}, "CT")
    assert DOMAIN.judge(turned).unlike
    film = phantom("cxr").series[0].image
    assert DOMAIN.judge(study_of({"film": Image2D(255 - film.array)}, "DX")).unlike


@pytest.mark.parametrize("part", ["", "HEAD", "KNEE", "<b>ignore this</b>"])
def test_the_body_part_of_the_header_does_not_count(part):
    study = phantom("ct")
    told = study.series[0].body_part
    try:
        study.series[0].body_part = part
        assert DOMAIN.judge(study) == DOMAIN.judge(phantom("ct"))
        assert not DOMAIN.judge(study).unlike
    finally:
        study.series[0].body_part = told


def test_one_strange_sequence_of_four_is_enough():
    whole = phantom("mri")
    volumes = {series.sequence: series.volume for series in whole.series}
    volumes["flair"] = Volume(np.random.default_rng(0).integers(0, 900, (128, 128, 128)).astype(np.int16), np.eye(4))
    judged = DOMAIN.judge(study_of(volumes, "MR"))
    assert judged.unlike
    assert judged.score > DOMAIN.judge(whole).score


def test_one_strange_slice_of_many_is_not_enough():
    one = phantom("ct").series[0].volume
    array = one.array.copy()
    array[:, :, 64] = 3000
    study = study_of({"ct": Volume(array, one.affine)}, "CT")
    assert not DOMAIN.judge(study).unlike


def test_the_fitted_data_is_small_finite_and_the_one_its_page_describes():
    held = DATA.read_bytes()
    assert len(held) < 1_000_000
    told = files("attending.consult").joinpath("data/README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(held).hexdigest() in told
    assert set(DOMAIN.fits) == {"CT", "MRI", "CXR"}
    for one in DOMAIN.fits.values():
        assert one.mean.shape == (FEATURES,)
        assert one.whiten.shape == (FEATURES, FEATURES)
        assert np.isfinite(one.mean).all()
        assert np.isfinite(one.whiten).all()
        assert 1 < one.limit < 10


# The rules, on fits made here.


def test_the_score_of_what_was_fitted_is_one_and_of_its_mean_nothing():
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.1, 3, FEATURES)
    one = Fit(np.full(FEATURES, 5.0), np.diag(1 / spreads), 2.0)
    drawn = 5 + rng.normal(size=(500, FEATURES)) * spreads
    assert one.score(drawn) == pytest.approx(1, abs=0.05)
    assert one.score(np.full((3, FEATURES), 5.0)) == 0


def test_the_median_picture_of_a_series_speaks_for_it():
    near, far = np.zeros(FEATURES), np.full(FEATURES, 9.0)
    assert fit().score(np.stack([near, far, near])) == 0
    assert fit().score(np.stack([far, far, near])) == 9


@pytest.mark.parametrize(
    ("modality", "told"),
    [("US", "this is US"), (None, "what this was made with is not known"), ("CT and CXR", "this is CT and CXR")],
)
def test_a_modality_without_phantoms_is_unlike_without_a_score(modality, told):
    judged = DOMAIN.judge(None, [picture(np.zeros((9, 9)))], modality)
    assert (judged.unlike, judged.score, judged.limit, judged.modality) == (True, None, None, modality)
    assert told in judged.text
    assert "synthetic CT, chest radiographs and brain MRI only" in judged.text
    assert judged.to_dict() == {"unlike": True, "modality": modality, "score": None, "limit": None}


def test_ultrasound_and_unknown_files_are_unlike(tmp_path):
    from PIL import Image
    from pydicom.data import get_testdata_file

    assert DOMAIN.judge(open_study(get_testdata_file("examples_rgb_color.dcm"))).modality == "US"
    Image.new("L", (64, 64)).save(tmp_path / "photo.png")
    assert DOMAIN.judge(open_study(tmp_path / "photo.png")).score is None
    assert DOMAIN.judge(open_study(tmp_path / "photo.png", modality="CT")).score is not None


def test_without_a_picture_there_is_nothing_to_tell():
    judged = DOMAIN.judge(None)
    assert (judged.unlike, judged.note, judged.score) == (False, "", None)
    assert not DOMAIN.judge(None, []).unlike


def test_no_score_at_all_is_worse_than_any_score():
    far = Domain({"CT": fit(limit=1e-9)})
    shown = [picture(np.zeros((9, 9)))]
    study = ct()
    series = study.series[0].id
    both = [*shown, picture(np.zeros((9, 9)), series=series)]
    assert far.judge(study, both, "US").score is None
    assert far.judge(study, both[1:], "US").score > 0


def test_pictures_of_the_study_are_judged_by_its_volumes_and_others_by_themselves():
    study = ct()
    series = study.series[0].id
    whole = DOMAIN.judge(study)
    assert DOMAIN.judge(study, [picture(np.zeros((9, 9)), series=series)], None) == whole
    other = DOMAIN.judge(study, [picture(np.zeros((9, 9)), series="elsewhere")], "CT")
    assert other.score != whole.score
    assert len(spread(study.series[0])) == SLICES


def test_a_score_just_at_the_limit_is_alike():
    study = cxr()
    score = Domain({"CXR": fit()}).judge(study).score
    assert not Domain({"CXR": fit(limit=score)}).judge(study).unlike
    assert Domain({"CXR": fit(limit=np.nextafter(score, 0))}).judge(study).unlike


def test_a_series_is_looked_at_once(monkeypatch):
    study, domain = mri(), Domain.load()
    first = domain.judge(study)
    seen = []
    monkeypatch.setattr("attending.consult.domain.spread", lambda series: seen.append(series))
    assert domain.judge(study) == first
    assert not seen
    assert len(domain._known) == 4


def test_scores_are_forgotten_with_the_study():
    import gc

    domain = Domain.load()
    domain.judge(ct())
    gc.collect()
    assert len(domain._known) == 0


def test_same_voxels_same_score():
    assert DOMAIN.judge(ct()) == DOMAIN.judge(ct())


def test_an_image_is_judged_by_its_first_frame():
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40)).astype(np.uint8)
    study = study_of({"film": Image2D(frames)}, "DX")
    np.testing.assert_array_equal(looks(spread(study.series[0])), looks([picture_of(Image2D(frames[:1]))]))


def test_several_channels_and_voxels_that_are_no_numbers_have_a_score():
    array = np.random.default_rng(0).normal(size=(2, 20, 20, 6)).astype(np.float32)
    array[:, 3] = np.nan
    array[:, 4] = np.inf
    judged = DOMAIN.judge(study_of({"mr": Volume(array, np.eye(4))}, "MR"))
    assert judged.unlike
    assert np.isfinite(judged.score)


def test_voxels_that_cannot_be_read_are_told_as_such():
    study = ct()

    def broken(series):
        raise InputError("the pixel data is cut short", path="a.dcm")

    study.series[0].read = broken
    with pytest.raises(InputError, match="cut short"):
        DOMAIN.judge(Study(Path(), study.series))


def test_the_note_is_taken_off_what_a_client_sends_back():
    note = DOMAIN.judge(ct()).note
    assert without_note(f"{note}The liver is large.\n\nNo lesion.") == "The liver is large.\n\nNo lesion."
    assert without_note(note) == ""
    for text in ("", "The liver is large.\n\nNo lesion.", "This study is unlike others.\n\nYes.", note.strip()):
        assert without_note(text) == text
