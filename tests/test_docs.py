"""What the documentation says to do is done here, and its tables are those of the code."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer.main
from dicom_files import voxels, write_series

from attending.cli import app
from attending.imaging import Limits

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """The files that the pages speak of."""
    write_series(tmp_path / "scans" / "patient7", voxels((32, 32, 6)))
    (tmp_path / "scans" / "brain").mkdir()
    for name in ("scans/liver.nii.gz", "scans/brain/first.nii.gz", "scans/brain/second.nii.gz"):
        nib.save(nib.Nifti1Image(voxels((32, 32, 6)), np.eye(4)), tmp_path / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["README.md", "docs/studies.md"])
def test_the_python_of_a_page_runs(scans, name):
    names = {}
    for block in blocks(ROOT / name, "python"):
        exec(compile(block, name, "exec"), names)
    assert names["volume"].array.shape == (32, 32, 6)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_exist_with_the_options_it_gives_them(page):
    lines = [line.split("#")[0] for block in blocks(page, "bash") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line)
        if not words or words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert not words or words[1] in targets
            continue
        if words[0] != "attending":
            continue
        command = typer.main.get_command(app)
        rest = words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert command.name != "attending", f"no such command: {line}"
        for word in rest:
            assert not word.startswith("--") or word.split("=")[0] in options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_table_of_limits_is_that_of_the_code():
    rows = re.findall(
        r"^\| `ATTENDING_LIMIT_(\w+)` \| ([\d,]+) \|", (ROOT / "docs" / "limits.md").read_text(), re.MULTILINE
    )
    assert {name.lower(): int(value.replace(",", "")) for name, value in rows} == {
        field.name: field.default for field in fields(Limits)
    }


def test_the_page_of_faults_lists_every_fault():
    from faults import FAULTS

    text = (ROOT / "docs" / "faults.md").read_text()
    assert all(fault.name in text for fault in FAULTS)
