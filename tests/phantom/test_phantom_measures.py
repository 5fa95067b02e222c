"""Every measurement in the truth equals what SimpleITK and MONAI find in the label volumes."""

import numpy as np
import pytest

from attending.phantom import label_names
from attending.spatial import measure, region

sitk = pytest.importorskip("SimpleITK")


def as_image(array, volume):
    """RAS millimetres throughout: only distances and positions matter here."""
    image = sitk.GetImageFromArray(array.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.affine[:3, 3].tolist())
    return image


def statistics(image):
    found = sitk.LabelShapeStatisticsImageFilter()
    found.Execute(image)
    return found


def largest_piece(array, volume):
    """SimpleITK's largest component, voxels touching at a corner being connected."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(as_image(array, volume), True))
    return sitk.GetArrayFromImage(pieces).transpose(2, 1, 0) == 1


def feret(section, spacing):
    """SimpleITK's Feret diameter from border to border.

    It measures between pixel centres, so the border points, halfway between the last pixel inside and the first
    outside, become pixels of a grid of half the spacing.
    """
    fine = np.zeros([2 * n + 1 for n in section.shape], np.uint8)
    fine[1::2, 1::2] = section
    fine[:-1:2, 1::2] |= section
    fine[2::2, 1::2] |= section
    fine[1::2, :-1:2] |= section
    fine[1::2, 2::2] |= section
    image = sitk.GetImageFromArray(fine.T)
    image.SetSpacing([s / 2 for s in spacing])
    found = sitk.LabelShapeStatisticsImageFilter()
    found.ComputeFeretDiameterOn()
    found.Execute(image)
    return found.GetFeretDiameter(1)


def masks(case, index):
    """Each finding's voxels on a visit with its record in the truth."""
    array = case.visits[index].instances.array
    for i, record in enumerate(case.truth.visits[index]["findings"]):
        yield (array[i] > 0) if case.kind == "cxr" else array == i + 1, record


@pytest.fixture(scope="module", params=["small", "two_visits"])
def measured(request, kind):
    return request.getfixturevalue(request.param)


def test_volume_and_centroid(measured, kind):
    for index, visit in enumerate(measured.visits):
        for mask, record in masks(measured, index):
            found, told = statistics(as_image(mask, visit.instances)), record["measurements"]
            if kind == "cxr":  # one pixel is 1 mm deep in this grid
                assert told["area_cm2"] == pytest.approx(found.GetPhysicalSize(1) / 100, abs=0.01)
            else:
                assert told["volume_ml"] == pytest.approx(found.GetPhysicalSize(1) / 1000, abs=0.001)
                assert told["voxels"] == found.GetNumberOfPixels(1)
            assert told["centroid_ras_mm"] == pytest.approx(found.GetCentroid(1), abs=0.001)


def test_boxes_and_extents(measured, kind):
    for index, visit in enumerate(measured.visits):
        for mask, record in masks(measured, index):
            box = np.array(statistics(as_image(mask, visit.instances)).GetBoundingBox(1)).reshape(2, 3)
            first, size, told = box[0], box[1], record["measurements"]
            axes = [0, 2] if kind == "cxr" else [0, 1, 2]
            name = "box_pixels" if kind == "cxr" else "box_voxels"
            assert told[name] == [[first[a], first[a] + size[a]] for a in axes]
            assert told["extent_mm"] == pytest.approx([size[a] * visit.instances.spacing[a] for a in axes], abs=0.051)


def test_the_diameter_is_the_feret_diameter_between_borders(measured, kind):
    for index, visit in enumerate(measured.visits):
        for mask, record in masks(measured, index):
            labels, spacing = visit.labels.array, visit.instances.spacing
            if kind == "cxr":
                widest = feret(mask[:, 0, :], [spacing[0], spacing[2]])
                assert record["measurements"]["longest_diameter_mm"] == pytest.approx(widest, abs=0.002)
                continue
            if kind == "mri":  # of the core
                mask = (labels == 1) | (labels == 4)
            piece = largest_piece(mask, visit.instances)
            widest = max(feret(piece[:, :, k], spacing[:2]) for k in np.flatnonzero(piece.any((0, 1))))
            assert record["measurements"]["longest_axial_diameter_mm"] == pytest.approx(widest, abs=0.002)


def test_components(measured, kind):
    if kind != "ct":
        pytest.skip("a tumor is one piece, and a shadow is not told in pieces")
    for index, visit in enumerate(measured.visits):
        for mask, record in masks(measured, index):
            pieces = statistics(sitk.ConnectedComponent(as_image(mask, visit.instances), True))
            assert record["measurements"]["components"] == len(pieces.GetLabels())


def test_organs(small, kind):
    if kind == "cxr":
        pytest.skip("shadows have no volume")
    found = statistics(as_image(small.labels.array, small.labels))
    organs = small.truth.visits[0]["organs"]
    assert {o["label"] for o in organs} == set(found.GetLabels())
    for organ in organs:
        assert organ["name"] == label_names(kind)[organ["label"]]
        assert organ["volume_ml"] == pytest.approx(found.GetPhysicalSize(organ["label"]) / 1000, abs=0.001)
        if "centroid_ras_mm" in organ:
            assert organ["centroid_ras_mm"] == pytest.approx(found.GetCentroid(organ["label"]), abs=0.001)


def test_boxes_equal_monai(small, kind):
    pytest.importorskip("torch").set_num_threads(1)
    transforms = pytest.importorskip("monai.transforms")
    for mask, record in masks(small, 0):
        low, high = transforms.generate_spatial_bounding_box(mask[None].astype(np.uint8), allow_smaller=True)
        told = record["measurements"]
        box = [[int(a), int(b)] for a, b in zip(low, high, strict=True)]
        assert (told["box_pixels"] if kind == "cxr" else told["box_voxels"]) == (box[::2] if kind == "cxr" else box)


def test_an_expert_that_segments_perfectly_reports_the_true_size(small, kind):
    """One convention: what the experts' own measuring says of the true mask is what the truth says."""
    if kind == "cxr":
        pytest.skip("experts do not segment radiographs")
    if kind == "mri":
        labels = small.labels
        core = measure(region(type(labels)((labels.array == 1) | (labels.array == 4), labels.affine))).to_dict()
        (record,) = small.truth.visits[0]["findings"]
        assert record["measurements"]["longest_axial_diameter_mm"] == core["longest_axial_diameter_mm"]
        return
    for number, record in enumerate(small.truth.visits[0]["findings"], 1):
        seen = measure(small.visits[0].instances, number).to_dict()
        assert seen.items() <= record["measurements"].items()
