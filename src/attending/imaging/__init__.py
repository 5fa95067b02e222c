"""imaging: what the user has on disk becomes a `Study`, and a `Volume` becomes a `Picture`."""

from attending.imaging.picture import Picture, picture_of
from attending.imaging.sheet import contact_sheet, with_legend
from attending.imaging.slices import key_slices, largest_slice, pictures, slice_picture, slice_positions
from attending.imaging.volume import Volume
from attending.imaging.window import CT_WINDOWS, Window, percentile_window, window_for

__all__ = [
    "CT_WINDOWS",
    "Picture",
    "Volume",
    "Window",
    "contact_sheet",
    "key_slices",
    "largest_slice",
    "percentile_window",
    "picture_of",
    "pictures",
    "slice_picture",
    "slice_positions",
    "window_for",
    "with_legend",
]
