import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending.errors import InputError
from attending.imaging import CT_WINDOWS, Window, percentile_window, window_for


def by_definition(array: np.ndarray, window: Window) -> np.ndarray:
    low = window.center - window.width / 2
    levels = (array.astype(np.float64) - low) / window.width * 255
    return np.floor(np.clip(np.nan_to_num(levels), 0, 255) + 0.5)


@pytest.mark.parametrize(
    ("field", "center", "width"),
    [
        ("width", 40, 0),
        ("width", 40, -80),
        ("width", 40, float("nan")),
        ("width", 40, float("inf")),
        ("center", float("nan"), 80),
        ("center", float("-inf"), 80),
    ],
)
def test_a_window_that_cannot_be_shown_is_refused_naming_field_and_value(
    field: str, center: float, width: float
) -> None:
    with pytest.raises(InputError, match=field) as error:
        Window(center, width)
    assert error.value.value == str({"center": center, "width": width}[field])


def test_edges_and_middle_of_the_window() -> None:
    voxels = np.array([-151.0, -150.0, 50.0, 250.0, 251.0])
    assert Window(50, 400).apply(voxels).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32])
@pytest.mark.parametrize("size", [1000, 600_000])  # the larger goes through the table where there is one
def test_every_voxel_type_is_windowed_as_defined(dtype: type, size: int) -> None:
    rng = np.random.default_rng(1)
    top = min(np.iinfo(dtype).max, 4000) if np.issubdtype(dtype, np.integer) else 4000
    voxels = rng.integers(0, top, size).astype(dtype)
    voxels[::3] //= 8
    shown = Window(41.25, 353.5).apply(voxels)
    assert shown.dtype == np.uint8
    # float32 may fall on the other side of a tie
    assert np.abs(shown - by_definition(voxels, Window(41.25, 353.5))).max() <= (dtype == np.float32)


def test_the_table_gives_what_each_value_gives_by_itself() -> None:
    values = np.arange(-32768, 32768).astype(np.int16)
    window = Window(17.3, 1234.5)
    many = np.resize(values, 65536 * 5)
    assert np.array_equal(window.apply(many), np.resize(window.apply(values), many.size))


def test_memory_order_views_and_byte_order_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    voxels = rng.integers(-1000, 1000, (80, 70, 60)).astype(np.int16)
    expected = by_definition(voxels, Window(50, 400))
    for view in (np.asfortranarray(voxels), voxels.astype(">i2"), voxels.astype(">f4"), voxels.copy(order="F").T.T):
        assert np.array_equal(Window(50, 400).apply(view), expected)
    assert np.array_equal(Window(50, 400).apply(voxels[::-1, :, ::-2]), expected[::-1, :, ::-2])
    assert Window(50, 400).apply(np.asfortranarray(voxels)).flags.f_contiguous


def test_not_a_number_is_black_and_infinity_is_the_end_of_the_range() -> None:
    voxels = np.array([np.nan, -np.inf, np.inf, 3e38, -3e38, 40], np.float32)
    assert Window(40, 80).apply(voxels).tolist() == [0, 0, 255, 255, 0, 128]


@given(
    center=st.floats(allow_nan=False, allow_infinity=False),
    width=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    values=st.lists(st.floats(), max_size=20),
)
def test_no_window_and_no_voxel_make_a_warning_or_break_the_order(
    center: float, width: float, values: list[float]
) -> None:
    voxels = np.array(values, np.float64)
    for array in (voxels, np.nan_to_num(voxels / 1e300, posinf=0, neginf=0).astype(np.float32)):
        array = np.sort(array[~np.isnan(array)])
        shown = Window(center, width).apply(array).astype(int)
        assert (np.diff(shown) >= 0).all()
    assert not Window(center, width).apply(np.full(3, np.nan)).any()


def test_empty_and_truth_values() -> None:
    assert Window(0.5, 1).apply(np.zeros((0, 4), np.int16)).shape == (0, 4)
    assert Window(0.5, 1).apply(np.array([[True, False]])).tolist() == [[255, 0]]


@pytest.mark.parametrize("use", [Window(1, 2).apply, percentile_window], ids=["apply", "percentile"])
def test_complex_voxels_are_refused(use) -> None:
    with pytest.raises(InputError, match="complex64"):
        use(np.zeros(3, np.complex64))


@pytest.mark.parametrize(
    ("body_part", "name"),
    [
        ("HEAD", "brain"),
        ("Brain", "brain"),
        ("CHEST", "mediastinum"),
        ("LUNG", "lung"),
        ("C-SPINE", "spine"),
        ("T spine", "spine"),
        ("KNEE", "bone"),
        ("LIVER", "liver"),
        ("HEART", "angio"),
        ("IAC", "temporal bone"),
        (None, "abdomen"),
        ("", "abdomen"),
        ("\x1b[31mTAIL", "abdomen"),
    ],
)
def test_ct_gets_the_window_of_its_body_part(body_part: str | None, name: str) -> None:
    assert window_for("CT", body_part, np.zeros(3)) == CT_WINDOWS[name]


def test_ct_values_are_those_of_the_cited_table() -> None:
    assert CT_WINDOWS["brain"] == Window(40, 80)
    assert CT_WINDOWS["lung"] == Window(-600, 1500)
    assert CT_WINDOWS["abdomen"] == Window(50, 400)


@pytest.mark.parametrize("modality", ["MR", None, "PT"])
def test_other_modalities_get_a_window_from_the_voxels_that_outliers_do_not_move(modality: str | None) -> None:
    voxels = np.random.default_rng(3).normal(500, 100, (60, 60, 30)).astype(np.float32)
    expected = window_for(modality, "HEAD", voxels)
    voxels[0, 0, :3] = 1e30, np.nan, -np.inf
    moved = window_for(modality, "HEAD", voxels)
    assert moved.center == pytest.approx(500, abs=10)
    assert moved.width == pytest.approx(515, abs=25)  # 0.5 to 99.5 % of a normal distribution: 5.15 deviations
    assert (moved.center, moved.width) == pytest.approx((expected.center, expected.width), rel=0.01)


def test_a_large_array_is_sampled_to_the_same_window() -> None:
    voxels = np.random.default_rng(4).integers(0, 1000, (256, 256, 64)).astype(np.int16)
    window = percentile_window(voxels)
    assert (window.center, window.width) == pytest.approx((499.5, 990), abs=4)


def test_voxels_of_nearly_one_value_span_least_to_greatest() -> None:
    voxels = np.zeros((40, 40, 40))
    voxels[20, 20, 20] = 7
    assert percentile_window(voxels) == Window(3.5, 7)


@pytest.mark.parametrize("value", [0, 5, -3.5, 1e300, np.nan, np.inf])
def test_a_constant_image_is_black(value: float) -> None:
    voxels = np.full((4, 4), value)
    assert not percentile_window(voxels).apply(np.nan_to_num(voxels, posinf=0)).any()


def test_the_widest_voxels_still_have_a_window() -> None:
    assert percentile_window(np.array([-1.7e308, 1.7e308])).width > 1e308
