"""Masks land where their series lies, read by other programs' readers too."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import voxels, write_series
from report_answers import AFFINE, answer, mask, segmented, series

from attending.experts import Record, Segmentation
from attending.imaging import Study, Volume, label_color, open_study
from attending.reporting import write

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def oblique(turn=0.3, tilt=0.2):
    """Directions of columns and rows, LPS, of a slice turned about two axes."""
    c, s, d, t = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
    return (c, s, 0.0), (-s * d, c * d, t)


def written(tmp_path, finding, study):
    write(answer([finding], study=study), tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*mask.nii.gz")
    return path


def of_dicom(tmp_path, directions, shape=(23, 19, 11)):
    """A study from DICOM files and a finding whose mask marks single voxels of it, each with a label of its own."""
    write_series(tmp_path / "dicom", voxels(shape), directions=directions, spacing=(0.7, 0.9, 2.5))
    study = open_study(tmp_path / "dicom")
    (only,) = study.series
    rng = np.random.default_rng(5)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, 21):
        labels[tuple(rng.integers(0, shape))] = label
    found = Segmentation(Volume(labels, only.volume.affine, series=only.id), {i: f"spot {i}" for i in range(1, 21)})
    return study, segmented(found, record=Record("VISTA3D", inputs={only.id: "ab"}), measurements={})


@pytest.mark.parametrize("directions", [((1.0, 0, 0), (0, 1.0, 0)), oblique(), oblique(2.1, -0.7)])
def test_every_voxel_of_a_mask_lies_on_its_voxel_of_an_oblique_dicom_series(tmp_path, directions):
    sitk = pytest.importorskip("SimpleITK")
    study, finding = of_dicom(tmp_path, directions)
    path = written(tmp_path, finding, study)
    source, labels = study.series[0].volume, finding.segmentation.labels.array
    image, other = nib.load(path), sitk.ReadImage(str(path))
    assert image.shape == source.array.shape
    assert np.array_equal(np.asarray(image.dataobj), labels)
    for voxel in np.argwhere(labels):
        place = source.to_world(voxel)
        for affine in (image.affine, image.get_sform(), image.get_qform()):
            assert np.allclose(nib.affines.apply_affine(affine, voxel), place, atol=1e-3)
        index = [int(i) for i in voxel]
        assert np.allclose(RAS_TO_LPS @ other.TransformIndexToPhysicalPoint(index), place, atol=1e-3)
        assert other.GetPixel(index) == labels[tuple(voxel)]


def test_the_source_files_themselves_agree_on_where_the_mask_lies(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    study, finding = of_dicom(tmp_path, oblique())
    path = written(tmp_path, finding, study)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "dicom")))
    scan, found = reader.Execute(), sitk.ReadImage(str(path))
    filters = sitk.LabelShapeStatisticsImageFilter()
    filters.Execute(found)
    for label in filters.GetLabels():
        index = scan.TransformPhysicalPointToContinuousIndex(filters.GetCentroid(label))
        assert np.allclose(index, np.round(index), atol=1e-2), (
            "the centre of a source voxel, by the scanner's own files"
        )


def test_the_header_says_millimetres_scanner_space_and_labels(tmp_path):
    image = nib.load(written(tmp_path, segmented(), Study(Path("x"), [series()])))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_intent()[0] == "label"
    assert image.get_data_dtype() == np.uint8
    assert b"VISTA3D" in bytes(image.header["descrip"])


def test_a_sheared_grid_has_an_sform_and_no_qform_that_would_lie(tmp_path):
    affine = AFFINE.copy()
    affine[0, 2] = 3.0
    study = Study(Path("x"), [series(affine=affine)])
    image = nib.load(written(tmp_path, segmented(mask(affine=affine)), study))
    assert np.allclose(image.get_sform(), affine)
    assert int(image.header["qform_code"]) == 0
    assert np.allclose(image.affine, affine)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_ids_survive_whatever_their_size(tmp_path, kind):
    labels = np.zeros((40, 36, 20), kind)
    labels[5:9, 5:9, 5:9] = np.iinfo(kind).max
    found = Segmentation(Volume(labels, AFFINE), {int(np.iinfo(kind).max): "top"})
    image = nib.load(written(tmp_path, segmented(found, measurements={}), Study(Path("x"), [series()])))
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert image.get_data_dtype() == kind


def test_other_voxel_orders_of_the_source_are_kept(tmp_path):
    affine = np.array([[0, 0, -6.0, 10], [-5.0, 0, 0, 20], [0, 5.0, 0, -30], [0, 0, 0, 1]])
    study = Study(Path("x"), [series(affine=affine)])
    found = mask(affine=affine)
    turned = replace(found, labels=replace(found.labels, array=np.asfortranarray(found.labels.array)))
    image = nib.load(written(tmp_path, segmented(turned), study))
    assert np.array_equal(np.asarray(image.dataobj), found.labels.array)
    assert np.allclose(image.affine, affine)


def test_label_names_and_colours_lie_beside_the_mask_for_people_slicer_and_itk_snap(tmp_path):
    path = written(tmp_path, segmented(), Study(Path("x"), [series()]))
    stem = path.name.removesuffix(".nii.gz")
    sidecar = json.loads((path.parent / f"{stem}.json").read_text())
    by_id = {label["id"]: label for label in sidecar["labels"]}
    array = np.asarray(nib.load(path).dataobj)
    assert {i: label["name"] for i, label in by_id.items()} == {1: "liver", 25: "hepatic vessel", 26: "hepatic tumor"}
    assert all(label["voxels"] == (array == i).sum() for i, label in by_id.items())
    assert by_id[26]["color"] == "#{:02x}{:02x}{:02x}".format(*label_color(26))
    assert sidecar["series"] == ["1.2.3"]
    with (path.parent / f"{stem}-slicer.csv").open() as file:
        rows = {int(row["LabelValue"]): row for row in csv.DictReader(file)}
    assert rows[26]["Name"] == "hepatic tumor"
    assert [int(rows[26][f"Color_{c}"]) for c in "RGB"] == list(label_color(26))
    lines = (path.parent / f"{stem}-itksnap.txt").read_text().splitlines()
    assert '26 {} {} {} 1 1 1 "hepatic tumor"'.format(*label_color(26)) in lines
    assert all(line.startswith("#") or len(line.split(" ", 7)) == 8 for line in lines)


def test_names_with_quotes_braces_and_line_breaks_stay_one_field_in_one_row(tmp_path):
    hostile = 'a"b,{0.__class__}\n=1+1,\x1b[2J\u202e'
    found = replace(mask(), names={1: hostile, 26: "x"})
    path = written(tmp_path, segmented(found, measurements={}), Study(Path("x"), [series()]))
    stem = path.name.removesuffix(".nii.gz")
    with (path.parent / f"{stem}-slicer.csv").open() as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [6, 6, 6]
    assert rows[1][1] == "a'b,{0.__class__}\\n=1+1,\\x1b[2J\\u202e"
    snap = (path.parent / f"{stem}-itksnap.txt").read_text()
    assert snap.count("\n") == 4
    assert "\x1b" not in snap


def test_each_finding_has_a_mask_of_its_own(tmp_path):
    other = mask()
    other.labels.array[:] = 0
    other.labels.array[0, 0, 0] = 1
    write(answer([segmented(), segmented(other, measurements={})], study=Study(Path("x"), [series()])), tmp_path)
    first, second = sorted(tmp_path.rglob("*mask.nii.gz"))
    assert (np.asarray(nib.load(first).dataobj) != 0).sum() > 1
    assert (np.asarray(nib.load(second).dataobj) != 0).sum() == 1


def test_a_failed_finding_leaves_no_mask(tmp_path):
    write(answer([segmented(status="failed", text="it broke")], study=Study(Path("x"), [series()])), tmp_path)
    assert not list(tmp_path.rglob("*.nii.gz"))
