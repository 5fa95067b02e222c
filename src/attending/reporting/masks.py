"""Masks as NIfTI on the grid of their series, with label names for people, 3D Slicer and ITK-SNAP."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from attending.consult import NOTICE
from attending.errors import printable
from attending.experts import Finding, Segmentation
from attending.imaging import label_color
from attending.reporting.folder import put
from attending.reporting.plain import jsonable

_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT: millimetres of the scanner's frame, as the source has them


def write_mask(finding: Finding, found: Segmentation, folder: Path, stem: str) -> list[str]:
    """Write a finding's mask and what its labels mean.

    Args:
        finding: Whose mask it is.
        found: The mask; voxel order and affine are kept, so it lies on its series voxel by voxel.
        folder: Where to.
        stem: Name of the files up to the suffix.

    Returns:
        Names of the files: the mask, a sidecar (JSON), a colour table for 3D Slicer (CSV), label descriptions for
            ITK-SNAP.
    """
    _write_nifti(found, folder / f"{stem}.nii.gz", finding.record.expert)
    ids = sorted(set(found.names) | set(found.present))
    names = {label: printable(found.names.get(label, f"label {label}")) for label in ids}
    counts = [np.bincount(slab.ravel(), minlength=max(ids, default=0) + 1) for slab in found.labels.array]
    voxels = np.sum(counts, axis=0)
    record = finding.record
    sidecar = {
        "mask": f"{stem}.nii.gz",
        "labels": [
            {
                "id": label,
                "name": name,
                "color": "#{:02x}{:02x}{:02x}".format(*label_color(label)),
                "voxels": int(voxels[label]),
            }
            for label, name in names.items()
        ],
        "expert": record.expert,
        "version": record.version,
        "weights": record.weights,
        "arguments": record.arguments,
        "series": list(record.inputs),
        "notice": NOTICE,
    }
    rows = [(i, name.replace('"', "'"), label_color(i)) for i, name in names.items() if i]
    slicer = ["LabelValue,Name,Color_R,Color_G,Color_B,Color_A"]
    slicer += [f'{i},"{name}",{red},{green},{blue},255' for i, name, (red, green, blue) in rows]
    itksnap = ["# ITK-SNAP label descriptions: id, red, green, blue, opacity, shown, meshed, name"]
    itksnap += ['0 0 0 0 0 0 0 "Clear Label"']
    itksnap += [f'{i} {red} {green} {blue} 1 1 1 "{name}"' for i, name, (red, green, blue) in rows]
    texts = {
        f"{stem}.json": json.dumps(jsonable(sidecar), indent=1),
        f"{stem}-slicer.csv": "\n".join(slicer),
        f"{stem}-itksnap.txt": "\n".join(itksnap),
    }
    for name, text in texts.items():
        put(folder / name, (text + "\n").encode())
    return [f"{stem}.nii.gz", *texts]


def _write_nifti(found: Segmentation, path: Path, expert: str) -> None:
    affine = found.labels.affine
    image = nib.Nifti1Image(found.labels.array, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent("label")
    image.header["descrip"] = f"{expert[:40]}; attending; research use only".encode("ascii", "replace")
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):  # a quaternion holds no shear
        image.set_qform(None, 0)
    nib.save(image, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
