"""imaging: what the user has on disk becomes a `Study`, and a `Volume` becomes a `Picture`."""

from attending.imaging.picture import Picture
from attending.imaging.volume import Volume
from attending.imaging.window import Window

__all__ = ["Picture", "Volume", "Window"]
