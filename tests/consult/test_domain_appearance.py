"""The numbers that describe a picture: what must not change them, what must, and pictures that could break them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.consult.appearance import SIDE, appearance, colour, shrink

RNG = np.random.default_rng(0)
FEATURES = len(appearance(np.zeros((SIDE, SIDE), np.uint8)))
SHARES, DIRECTIONS, COARSE = slice(0, 11), slice(27, 35), slice(-17, -1)


def rgb(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, 2)


def body():
    """Something like a slice: a bright ellipse with texture, off the middle."""
    down, across = np.mgrid[:SIDE, :SIDE]
    inside = ((down - 60) / 45) ** 2 + ((across - 70) / 38) ** 2 < 1
    return (
        np.where(inside, 90 + 60 * np.sin(across / 7) + RNG.normal(0, 6, inside.shape), 0).clip(0, 255).astype(np.uint8)
    )


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 300),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["noise", "flat"]),
)
def test_any_picture_has_as_many_finite_numbers(rows, columns, seed, kind):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (rows, columns, 3) if kind == "noise" else (1, 1, 3)).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (rows, columns, 3))
    grey = shrink(pixels)
    assert grey.shape == (SIDE, SIDE)
    assert grey.dtype == np.uint8
    found = appearance(grey, colour(pixels))
    assert found.shape == (FEATURES,)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10


@pytest.mark.parametrize("level", [0, 9, 10, 11, 128, 255])
def test_a_flat_picture_is_described_by_its_level(level):
    found = appearance(np.full((SIDE, SIDE), level, np.uint8))
    np.testing.assert_allclose(found[COARSE], level / 255)
    assert sorted(found[SHARES])[-2:] == [0, 1]
    np.testing.assert_allclose(found[DIRECTIONS], 0)


def test_shares_and_directions_add_up_to_one():
    found = appearance(body())
    assert (found[SHARES] ** 2).sum() == pytest.approx(1)
    assert found[DIRECTIONS].sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_finer_grid_of_the_same_picture_changes_nothing(times):
    grey = body()
    finer = grey.repeat(times, 0).repeat(times, 1)
    np.testing.assert_array_equal(shrink(rgb(finer)), grey)


def test_grey_has_no_colour_and_a_photograph_has():
    skimage = pytest.importorskip("skimage")
    assert colour(rgb(body())) == 0
    assert colour(skimage.data.astronaut()) > 0.5
    red = rgb(np.zeros((5, 4)))
    red[..., 0] = 255
    assert colour(red) == 1


def test_a_mirrored_picture_has_the_same_levels_and_another_place():
    grey = body()
    found, mirrored = appearance(grey), appearance(grey[:, ::-1])
    np.testing.assert_allclose(found[:16], mirrored[:16])
    np.testing.assert_allclose(found[COARSE].reshape(4, 4), mirrored[COARSE].reshape(4, 4)[:, ::-1])
    assert np.abs(found - mirrored).max() > 0.02


def test_a_turned_picture_exchanges_rows_and_columns():
    grey = body()
    found, turned = appearance(grey), appearance(grey.T)
    np.testing.assert_allclose(found[COARSE].reshape(4, 4), turned[COARSE].reshape(4, 4).T)
    np.testing.assert_allclose(found[:27], turned[:27], atol=1e-6)  # levels, spectrum and steepness
    share = found[DIRECTIONS]
    assert share[0] + share[-1] > turned[DIRECTIONS][[0, -1]].sum()  # its stripes stand upright


@pytest.mark.parametrize("spoil", ["noise", "blur", "invert"])
def test_what_spoils_a_picture_shows_in_many_numbers(spoil):
    grey = body().astype(float)
    if spoil == "noise":
        spoiled = grey + RNG.normal(0, 15, grey.shape)
    elif spoil == "blur":
        spoiled = sum(np.roll(grey, shift, axis) for axis in (0, 1) for shift in (-2, -1, 0, 1, 2)) / 10
    else:
        spoiled = 255 - grey
    apart = np.abs(appearance(spoiled.clip(0, 255).astype(np.uint8)) - appearance(body()))
    assert (apart > 0.1).sum() >= 8


def test_the_picture_given_is_left_as_it_was():
    grey = body()
    kept = grey.copy()
    grey.setflags(write=False)
    assert appearance(grey).tolist() == appearance(kept).tolist()
    np.testing.assert_array_equal(grey, kept)
