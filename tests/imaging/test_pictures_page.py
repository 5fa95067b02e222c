"""The blocks of docs/pictures.md run, in order, on a small head and do what the page says."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "pictures.md"


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = np.meshgrid(np.arange(48), np.arange(56), np.arange(40), indexing="ij")
    inside = sum(((axis - size / 2) / (size * 0.4)) ** 2 for axis, size in zip(grid, (48, 56, 40), strict=True)) < 1
    bleeding = (abs(grid[0] - 30) < 4) & (abs(grid[1] - 28) < 5) & (abs(grid[2] - 20) < 3)
    head = np.where(inside, 35, -1000) + np.where(bleeding, 40, 0)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-96, -112, -60]
    nib.save(nib.Nifti1Image(head.astype(np.int16), affine), tmp_path / "head.nii.gz")
    nib.save(nib.Nifti1Image(bleeding.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    monkeypatch.chdir(tmp_path)

    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)

    assert len(blocks) == 6
    for file in ("sheet.png", "slice.png", "overlay.png"):
        with Image.open(tmp_path / file) as image:
            assert image.format == "PNG"
    assert (names["window"].center, names["window"].width) == (40, 80)
    assert names["picture"].plane == "coronal"
    assert len(names["where"]) == len(names["spread"]) == 8
    assert len(names["digests"]) == len(names["seen"]) == 40
    assert names["overlay"].index in (18, 19, 20, 21, 22)
    assert names["overlay"].legend == (("haematoma", (255, 0, 0)),)
    assert names["colors"] == {1: "red"}
