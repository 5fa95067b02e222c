"""The oracle sees what is there, and nothing once it is removed; it knows only pixels."""

import ast
from pathlib import Path

import numpy as np
import pytest

from attending.phantom import generate
from attending.phantom import oracle as oracle_module
from attending.phantom.oracle import READS, read

CASES = {
    "liver lesion": ("ct", "liver lesion:size=30,place=segment VIII,density=hypodense"),
    "lung nodule": ("ct", "lung nodule:size=24,place=right upper lobe,density=solid"),
    "kidney lesion": ("ct", "kidney lesion:size=26,side=left,density=cystic"),
    "pancreas lesion": ("ct", "pancreas lesion:size=26,place=tail,density=cystic"),
    "atelectasis": ("cxr", "atelectasis:size=85,side=left"),
    "consolidation": ("cxr", "consolidation:size=90,density=dense"),
    "brain tumor": ("mri", "brain tumor:size=45,density=necrotic"),
    "cardiomegaly": ("cxr", "cardiomegaly"),
    "edema": ("cxr", "edema:size=85"),
    "effusion": ("cxr", "effusion:size=100,side=left"),
}


QUICK = ["liver lesion", "brain tumor", "edema"]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name not in QUICK)]
)
def test_it_sees_a_plain_finding_and_not_its_absence(name):
    study, wish = CASES[name]
    there, gone = (read(study, generate(study, 950_102, "A", findings=f).volumes)[name] for f in ([wish], []))
    assert there.present
    assert not gone.present
    assert there.score > gone.score


def test_it_measures_a_tumor():
    case = generate("mri", 950_101, "C", findings=["brain tumor:size=40,density=necrotic,side=left"])
    seen = read("mri", case.volumes)["brain tumor"]
    truth = case.visits[0].instances.array > 0
    assert seen.side == "left"
    assert 2 * (seen.mask & truth).sum() / (seen.mask.sum() + truth.sum()) > 0.6


def test_it_imports_nothing_of_the_generator():
    parts = {"oracle", "spots", "shadows"}
    for part in parts:
        tree = ast.parse((Path(oracle_module.__file__).parent / f"{part}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("attending.phantom"):
                imported = {node.module.removeprefix("attending.phantom").strip(".")} - {""}
                assert (imported or {alias.name for alias in node.names}) <= parts
            assert not (isinstance(node, ast.Import) and "attending.phantom" in ast.dump(node))


@pytest.mark.parametrize("study", READS)
def test_noise_holds_no_finding_and_does_no_harm(study):
    shape = (128, 1, 128) if study == "cxr" else (64, 64, 64)
    plain = generate(study, 1, "A", findings=[], shape=shape)
    from dataclasses import replace

    noise = np.random.default_rng(0)
    blank = {
        k: replace(v, array=noise.integers(0, 5, v.array.shape).astype(np.int16)) for k, v in plain.volumes.items()
    }
    readings = read(study, blank)
    assert set(readings) == set(READS[study])
    if study != "cxr":
        assert not any(r.present for r in readings.values())
