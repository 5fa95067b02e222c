"""imaging: what the user has on disk becomes a `Study`, and a `Volume` becomes a `Picture`."""

from attending.imaging.image2d import Image2D
from attending.imaging.limits import Limits
from attending.imaging.open import MODALITIES, open_study
from attending.imaging.overlay import label_color, overlay_picture
from attending.imaging.picture import Picture, picture_of
from attending.imaging.reference import reference_overlay, reference_picture, reference_pictures
from attending.imaging.sheet import contact_sheet, with_legend
from attending.imaging.slices import key_slices, largest_slice, pictures, slice_picture, slice_positions
from attending.imaging.study import Patient, Series, Study
from attending.imaging.volume import Volume
from attending.imaging.window import CT_WINDOWS, Window, percentile_window, window_for

__all__ = [
    "CT_WINDOWS",
    "MODALITIES",
    "Image2D",
    "Limits",
    "Patient",
    "Picture",
    "Series",
    "Study",
    "Volume",
    "Window",
    "contact_sheet",
    "key_slices",
    "label_color",
    "largest_slice",
    "open_study",
    "overlay_picture",
    "percentile_window",
    "picture_of",
    "pictures",
    "reference_overlay",
    "reference_picture",
    "reference_pictures",
    "slice_picture",
    "slice_positions",
    "window_for",
    "with_legend",
]
