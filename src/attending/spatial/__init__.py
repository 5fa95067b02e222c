"""spatial: masks with an affine become millimetres, millilitres, sides and places."""

from attending.spatial.diameter import Diameter, axial_diameter, frontal_diameter
from attending.spatial.measure import Intensity, Measurement, component_volumes, intensity, measure, volume_ml
from attending.spatial.place import Container, Side, containing, distance_mm, side
from attending.spatial.region import centroid, labels_in, region, regions
from attending.spatial.resample import resample, same_grid

__all__ = [
    "Container",
    "Diameter",
    "Intensity",
    "Measurement",
    "Side",
    "axial_diameter",
    "centroid",
    "component_volumes",
    "containing",
    "distance_mm",
    "frontal_diameter",
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
