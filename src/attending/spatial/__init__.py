"""spatial: masks with an affine become millimetres, millilitres, sides and places."""

from importlib.util import find_spec

from attending.errors import NotAvailableError

if find_spec("scipy") is None:
    raise NotAvailableError("measuring masks needs scipy; install it with: pip install 'attending[experts]'")

from attending.spatial.diameter import Diameter, axial_diameter
from attending.spatial.measure import Intensity, Measurement, component_volumes, intensity, measure, volume_ml
from attending.spatial.place import Container, Side, containing, distance_mm, side
from attending.spatial.region import labels_in, region, regions
from attending.spatial.resample import resample, same_grid

__all__ = [
    "Container",
    "Diameter",
    "Intensity",
    "Measurement",
    "Side",
    "axial_diameter",
    "component_volumes",
    "containing",
    "distance_mm",
    "intensity",
    "labels_in",
    "measure",
    "region",
    "regions",
    "resample",
    "same_grid",
    "side",
    "volume_ml",
]
