"""How well the embedded experts do on phantoms that nothing was trained on, in and out of the style of their training.

    OMP_NUM_THREADS=1 python benchmarks/experts.py                    # all three, on 4 cases each
    OMP_NUM_THREADS=1 python benchmarks/experts.py torso --cases 60
    OMP_NUM_THREADS=1 python benchmarks/experts.py brain --cases 60 --subset-cases 20
    OMP_NUM_THREADS=1 python benchmarks/experts.py chest --cases 400
    OMP_NUM_THREADS=1 python benchmarks/experts.py torso --bundle runs/expert-ct/model --cases 20
    OMP_NUM_THREADS=1 python benchmarks/experts.py torso --grid --cases 12
    OMP_NUM_THREADS=1 python benchmarks/experts.py torso --offsets --cases 24 --bundle runs/expert-ct/model
    OMP_NUM_THREADS=1 python benchmarks/experts.py torso --specks --cases 30 --bundle runs/expert-ct/model
    python benchmarks/experts.py pack --bundle runs/expert-ct/model --out src/attending/experts/data/embedded/torso

A case is a patient of the test seeds, seen by one of the hospitals of training (A, B, C in turn) and once more by D,
which no expert has seen. Each expert runs as users run it. `--work` keeps the cases and a line of results for each, by
the bundle's hash, so that the same command goes on where it stopped. Tables are Markdown: the mean with a 95 %
bootstrap interval over patients. Beside each expert stands a trivial one: for organs the mean masks of 24 training
patients laid into the box of the body, for lesions a threshold, for radiographs the share of training patients who have
the finding. `--grid` shows what it is worth to decide labels on the study's grid. `--offsets` finds on validation
patients with many lesions what must be added to a lesion's logit so that it comes out neither too small nor too large,
and writes it into the bundle's metadata. `--specks` finds on validation patients from which size on a part of a lesion
is to be believed. `pack` writes a trained bundle as it is shipped: weights in float16, with their SHA-256.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from scipy import ndimage

from attending.cli.console import progress
from attending.corpora.cases import study_of
from attending.corpora.phantom_cases import CLASSES
from attending.evaluation.intervals import Interval, bootstrap
from attending.evaluation.journal import Journal, entries
from attending.evaluation.metrics import METRICS, Row
from attending.evaluation.parse import found
from attending.experts import Expert, brats, embedded, run_expert
from attending.experts.bundle import weights_hash
from attending.experts.grid import Decide, back, decided
from attending.experts.segment import measure_lesion, prepare
from attending.experts.window import window_for
from attending.imaging import Image2D, Study, Volume, Window
from attending.phantom import generate, seeds_of
from attending.training.expert_cases import drawn
from attending.training.recipe import read_recipe

KINDS = {"torso": "ct", "brain": "mri", "chest": "cxr"}
IN_STYLE, OUT_OF_STYLE = "ABC", "D"
FIRST = 20_000
"""Test cases before this one are used elsewhere."""
_FEW = 5
"""Lesions of a kind below which its size is left as it is."""
_SURE = 20
"""Voxels of the study from which on a lesion's size says something."""
SEQUENCES = ("t1ce", "t1", "t2", "flair")
REGIONS = {"whole tumor": (1, 2, 4), "tumor core": (1, 4), "enhancing tumor": (4,)}
RECIPES = Path(__file__).parents[1] / "src/attending/training/recipes"
TORSO = yaml.safe_load((RECIPES / "expert-ct.yaml").read_text())
HOSTS = {"liver lesion": 1, "kidney lesion": (4, 5), "pancreatic lesion": 3, "lung nodule": 7, "consolidation": 7,
         "pleural effusion": 7, "pneumothorax": 7}  # fmt: skip
"""The organs, by label, in whose mean mask the threshold looks for a lesion."""


# Cases, kept on disk.


def case_of(kind: str, seed: int, style: str, work: Path) -> dict[str, np.ndarray]:
    """Images by name, `labels` (radiographs: which findings are there) and `affine` of a phantom."""
    path = work / "cases" / f"{kind}-{style}-{seed}.npz"
    if not path.exists():
        case = generate(kind, seed, style)
        kept = {name: volume.array for name, volume in case.volumes.items()}
        there = {CLASSES.get(finding.kind) for finding in case.visits[-1].findings}
        labels = [name in there for name in CLASSES.values()] if kind == "cxr" else case.labels.array
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        np.savez(aside, labels=labels, affine=case.labels.affine, **kept)
        aside.replace(path)
    with np.load(path) as file:
        return dict(file)


def open_case(kind: str, case: dict[str, np.ndarray], sequences: Sequence[str] = SEQUENCES) -> Study:
    if kind == "cxr":  # as its DICOM is read
        film = np.ascontiguousarray(case["frontal"][::-1, 0, ::-1].T)[None]
        return study_of({"frontal": Image2D(film, None, "DX", "frontal", Window(2048, 4096))}, "DX", "CHEST")
    names = sequences if kind == "mri" else ("ct",)
    modality, part = ("MR", "BRAIN") if kind == "mri" else ("CT", "CHESTABDOMEN")
    return study_of({name: Volume(case[name], case["affine"], modality) for name in names}, modality, part)


def torso_labels(labels: np.ndarray) -> np.ndarray:
    """The phantom's ids as those of TORSO."""
    table = np.zeros(256, np.uint8)
    for label, ids in TORSO["merge"].items():
        table[ids] = label
    return table[labels]


# What a case is judged by.


def compare(truth: np.ndarray, guess: np.ndarray, affine: np.ndarray) -> dict:
    """Dice where there is something to find, and both masks' volume, largest diameter and number of parts."""
    facts = {"dice": None}
    if truth.any():
        facts["dice"] = 2 * int((truth & guess).sum()) / int(truth.sum() + guess.sum())
    for name, mask in (("true", truth), ("said", guess)):
        measured = measure_lesion(Volume(mask, affine))
        facts[name] = [measured["volume_ml"], measured.get("longest_axial_diameter_mm"), measured["components"]]
    return facts


def examine_torso(expert: Expert, case: dict[str, np.ndarray], prior: np.ndarray) -> dict:
    finding = run_expert(expert, open_case("ct", case))
    labels, affine = torso_labels(case["labels"]), case["affine"]
    guess = done(finding).segmentation.labels.array
    simple = by_mean_mask(case["ct"], affine, prior)
    return {
        name: compare(labels == label, guess == label, affine)
        | {"trivial": compare(labels == label, simple == label, affine)}
        for label, name in TORSO["labels"].items()
    } | {"seconds": finding.record.seconds}


def examine_brain(expert: Expert, case: dict[str, np.ndarray], sequences: Sequence[str]) -> dict:
    finding = run_expert(expert, open_case("mri", case, sequences))
    guess = done(finding).segmentation.labels.array
    simple = by_brightness(case) if len(sequences) == len(SEQUENCES) else {}
    return {
        name: compare(np.isin(case["labels"], ids), np.isin(guess, ids), case["affine"])
        | ({"trivial": compare(np.isin(case["labels"], ids), simple[name], case["affine"])} if simple else {})
        for name, ids in REGIONS.items()
    } | {"seconds": finding.record.seconds}


def examine_chest(expert: Expert, case: dict[str, np.ndarray]) -> dict:
    finding = run_expert(expert, open_case("cxr", case))
    there = dict(zip(CLASSES.values(), case["labels"].tolist(), strict=True))
    return {name: [score, there[name]] for name, score in done(finding).scores.items()} | {
        "seconds": finding.record.seconds
    }


def done(finding):
    if finding.status != "done":
        raise SystemExit(f"{finding.status}: {finding.text}")
    return finding


# Trivial experts.


def body_box(ct: np.ndarray) -> tuple[slice, ...]:
    parts, _ = ndimage.label(ct > -300)
    return ndimage.find_objects(parts)[np.bincount(parts.ravel())[1:].argmax()]


def mean_masks(work: Path, patients: int = 24, shape: tuple[int, ...] = (48, 40, 56)) -> np.ndarray:
    """How often each label of TORSO lies at a place of the body's box: `[15, x, y, z]`."""
    path = work / f"mean-masks-{patients}.npy"
    if not path.exists():
        total = np.zeros((len(TORSO["labels"]) + 1, *shape), np.float32)
        for number, seed in enumerate(seeds_of("train", 0, patients)):
            case = generate("ct", seed, IN_STYLE[number % 3])
            box = body_box(case.volumes["ct"].array)
            labels = torso_labels(case.labels.array)[box]
            at = [np.minimum(np.arange(n) * size // n, size - 1) for n, size in zip(shape, labels.shape, strict=True)]
            total += labels[np.ix_(*at)] == np.arange(len(total))[:, None, None, None]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, total / patients)
    return np.load(path)


def by_mean_mask(ct: np.ndarray, affine: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Organs where the mean masks have them; lesions where the smoothed CT stands out within these."""
    box, guess = body_box(ct), np.zeros(ct.shape, np.uint8)
    inside = ct[box]
    at = [np.minimum(np.arange(n) * side // n, side - 1) for n, side in zip(inside.shape, prior.shape[1:], strict=True)]
    guess[box] = prior.argmax(0).astype(np.uint8)[np.ix_(*at)]
    organs = guess.copy()
    smooth = ndimage.gaussian_filter(ct.astype(np.float32), 3 / np.abs(np.diag(affine)[:3]))
    for label, name in TORSO["labels"].items():
        if name not in HOSTS:
            continue
        host = np.isin(organs, HOSTS[name])
        if not host.any():
            continue
        if HOSTS[name] == 7:
            low, high = {"pneumothorax": (-2000, -960), "lung nodule": (-400, 3000)}.get(name, (-200, 3000))
        else:
            middle = float(np.median(smooth[host]))
            low, high = -2000, middle - 40
        hit = ndimage.binary_opening(host & (smooth > low) & (smooth < high), np.ones((3, 3, 3)))
        guess[hit] = label
    return guess


def by_brightness(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tumor as what is brighter than most of the brain: by FLAIR the whole, by contrast T1 what enhances."""
    smooth = {name: ndimage.gaussian_filter(case[name].astype(np.float32), 1) for name in ("flair", "t1ce", "t2")}
    head = ndimage.binary_fill_holes(smooth["t1ce"] > np.percentile(smooth["t1ce"], 99) / 5)
    brain = ndimage.binary_erosion(head, iterations=round(16 / abs(case["affine"][0, 0])))
    if not brain.any():
        return {name: np.zeros(head.shape, bool) for name in REGIONS}
    middle = {name: float(np.median(image[brain])) for name, image in smooth.items()}
    millilitre = 1000 / abs(np.linalg.det(case["affine"][:3, :3]))  # voxels
    whole = largest(brain & (smooth["flair"] > 1.45 * middle["flair"]), millilitre)
    enhancing = largest(brain & (smooth["t1ce"] > 1.4 * middle["t1ce"]), millilitre)
    core = ndimage.binary_fill_holes(enhancing)
    return {"whole tumor": whole | core, "tumor core": core, "enhancing tumor": enhancing}


def largest(mask: np.ndarray, least: float) -> np.ndarray:
    """The largest part, where it has more than `least` voxels."""
    parts, _ = ndimage.label(ndimage.binary_opening(mask))
    sizes = np.bincount(parts.ravel(), minlength=2)
    sizes[0] = 0
    return (parts == sizes.argmax()) & bool(sizes.max() > least)


def shares(count: int = 2000) -> dict[str, float]:
    """How often a finding is drawn for a training patient."""
    from attending.phantom.finding import draw_findings

    kinds = [{one.kind for one in draw_findings(seed, "cxr", None, 1)} for seed in seeds_of("train", 0, count)]
    return {name: float(np.mean([kind in one for one in kinds])) for kind, name in CLASSES.items()}


# Running.


def jobs(what: str, cases: int, subset_cases: int) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Seed, style and sequences of each run."""
    for number, seed in enumerate(seeds_of("test", FIRST, cases)):
        for style in (IN_STYLE[number % 3], OUT_OF_STYLE):
            yield seed, style, SEQUENCES
        if what == "brain" and number < subset_cases:
            for size in (3, 2, 1):
                for some in combinations(SEQUENCES, size):
                    yield seed, IN_STYLE[number % 3], some


def measure(what: str, expert: Expert, options: argparse.Namespace) -> list[dict]:
    """The results of all jobs, those of an earlier run included."""
    configs = [(expert.folder / "configs" / f"{name}.json").read_bytes() for name in ("inference", "metadata")]
    version = hashlib.sha256(b"".join([weights_hash(expert.bundle.weights_file).encode(), *configs])).hexdigest()
    path = options.work / f"{what}-{version[:12]}.jsonl"
    wanted = list(jobs(what, options.cases, options.subset_cases))
    lines = {key(line): line for line in entries(path)} if path.exists() else {}
    prior = mean_masks(options.work) if what == "torso" else None
    with Journal(path) as journal, progress(what, len(wanted)) as tell:
        for number, (seed, style, some) in enumerate(wanted):
            if (seed, style, some) not in lines:
                case = case_of(KINDS[what], seed, style, options.work)
                if what == "torso":
                    told = examine_torso(expert, case, prior)
                else:
                    told = examine_brain(expert, case, some) if what == "brain" else examine_chest(expert, case)
                line = {"seed": seed, "style": style, "sequences": some, "told": told}
                journal.write(line)
                lines[seed, style, some] = line
            tell(number + 1)
    return [lines[job] for job in wanted]


def key(line: dict) -> tuple[int, str, tuple[str, ...]]:
    return line["seed"], line["style"], tuple(line["sequences"])


# From the network's grid to the study's.


def logits_of(
    what: str, expert: Expert, volumes: Sequence[Volume]
) -> tuple[Volume, list[tuple[int, torch.Tensor]], Decide]:
    """The network's grid, its logits on it, and how the expert decides from them."""
    steps, cpu = expert.bundle.recipe(), torch.device("cpu")
    image, grid = prepare(volumes, steps)
    roi = window_for(image.shape[1:], steps.roi, cpu)
    segment = partial(brats.segment, overlap=steps.overlap) if what == "brain" else expert._segment
    slabs, decide = segment(expert.network, image, roi, cpu)
    return grid, list(slabs), decide


def compare_grids(what: str, expert: Expert, options: argparse.Namespace) -> None:
    """Print what it is worth to decide between the network's voxels instead of taking the nearest one's label."""
    names = {name: (label,) for label, name in TORSO["labels"].items()} if what == "torso" else REGIONS
    rows: dict[str, list[tuple[dict, dict]]] = {name: [] for name in names}
    took: list[tuple[float, float]] = []
    for number, seed in enumerate(seeds_of("test", FIRST, options.cases)):
        case = case_of(KINDS[what], seed, IN_STYLE[number % 3], options.work)
        study = open_case(KINDS[what], case)
        volumes = [series.volume for series in study.series]
        truth = torso_labels(case["labels"]) if what == "torso" else case["labels"]
        grid, slabs, decide = logits_of(what, expert, volumes)
        began = time.perf_counter()
        near = back(torch.cat([decide(slab)[0] for _, slab in slabs]).numpy(), grid, volumes[0])
        between = time.perf_counter()
        decided_there = decided(slabs, decide, grid, volumes[0])[0]
        took.append((between - began, time.perf_counter() - between))
        for name, ids in names.items():
            if np.isin(truth, ids).any():
                masks = (np.isin(one.array, ids) for one in (near, decided_there))
                rows[name].append(tuple(compare(np.isin(truth, ids), mask, case["affine"]) for mask in masks))
    seconds = " | ".join(f"{one:.2f} s" for one in np.median(took, 0))
    print(f"\n| {what.upper()}, {options.cases} test patients | cases | nearest voxel: Dice | between voxels: Dice | "
          f"better in |\n|---|---|---|---|---|\n| time a study | | {seconds} | |")  # fmt: skip
    for name, pairs in rows.items():
        if pairs:
            dice = np.array([[one["dice"] for one in pair] for pair in pairs])
            near, there = dice.mean(0)
            print(f"| {name} | {len(pairs)} | {near:.3f} | {there:.3f} | {np.mean(dice[:, 1] > dice[:, 0]):.0%} |")


# Lesions as large as they are.


def fit_offsets(expert: Expert, options: argparse.Namespace) -> dict[str, float]:
    """By lesion the offset at which the median volume is that of the truth; parts that touch no lesion do not count."""
    many = replace(read_recipe("expert-ct").data, split="validation", first=FIRST + 5000, count=options.cases)
    offsets = np.arange(0, 4.1, 0.4)
    ratios = {name: list[np.ndarray]() for name in HOSTS}
    for number, seed in enumerate(seeds_of("validation", many.first, many.count)):
        case = drawn(many, seed)
        truth, (grid, slabs, _) = torso_labels(case.labels.array), logits_of("torso", expert, [case.volumes["ct"]])
        for label, name in TORSO["labels"].items():
            there = truth == label
            if name not in HOSTS or there.sum() < _SURE:
                continue
            more = torch.zeros(len(offsets), slabs[0][1].shape[0])
            more[:, label] = torch.from_numpy(offsets)

            def decide(logits: torch.Tensor, more: torch.Tensor = more) -> torch.Tensor:
                return torch.stack([(logits.movedim(0, -1) + one).argmax(-1) for one in more]).to(torch.uint8)

            sizes = []
            for layer in decided(slabs, decide, grid, case.volumes["ct"]):
                parts, _ = ndimage.label(layer.array == label, np.ones((3, 3, 3)))
                sizes.append(np.isin(parts, np.setdiff1d(parts[there], 0)).sum())
            if sizes[0]:  # it is found
                ratios[name].append(np.array(sizes) / there.sum())
                print(name, there.sum(), *np.round(ratios[name][-1], 2), file=sys.stderr)
        print(f"{number + 1} of {options.cases}", file=sys.stderr, flush=True)
    found = {
        name: float(offsets[np.abs(np.median(of, 0) - 1).argmin()]) for name, of in ratios.items() if len(of) >= _FEW
    }
    print({name: len(of) for name, of in ratios.items()}, file=sys.stderr)
    write_fact(expert.folder, "offsets", {name: round(one, 1) for name, one in found.items()})
    return found


def write_fact(folder: Path, key: str, value: object) -> None:
    """Put a value into a bundle's metadata."""
    path = folder / "configs" / "metadata.json"
    facts = json.loads(path.read_text()) | {key: value}
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps(facts, indent=1) + "\n")
    aside.replace(path)


# From which size on a part is believed.


def fit_specks(what: str, expert: Expert, options: argparse.Namespace) -> dict[str, float]:
    """By lesion the size in mL that tells presence best, then the number of parts, on validation patients."""
    facts = {key: value for key, value in expert.bundle.metadata.items() if key not in ("least_ml", "offsets")}
    expert.bundle = replace(expert.bundle, metadata=facts)  # what it finds, specks included
    unions = {name: REGIONS[name] for name in ("whole tumor", "tumor core")}  # what BRAIN takes sizes for
    names = {"torso": {name: (label,) for label, name in TORSO["labels"].items() if name in HOSTS}, "brain": unions}
    parts: dict[str, list[tuple[list[float], int]]] = {name: [] for name in names[what]}
    for number, seed in enumerate(seeds_of("validation", FIRST, options.cases)):
        case = case_of(KINDS[what], seed, IN_STYLE[number % 3], options.work)
        labels = torso_labels(case["labels"]) if what == "torso" else case["labels"]
        told = done(run_expert(expert, open_case(KINDS[what], case))).measurements
        for name, ids in names[what].items():
            true = measure_lesion(Volume(np.isin(labels, ids), case["affine"]))["components"]
            parts[name].append((list(told.get(name, {}).get("components_ml", [])), true))
        print(f"{number + 1} of {options.cases}", file=sys.stderr, flush=True)
    least = {name: best_size(of_cases) for name, of_cases in parts.items()}
    write_fact(expert.folder, "least_ml", least)
    return least


def best_size(cases: Sequence[tuple[list[float], int]]) -> float:
    """Of a few sizes that tell presence about as well as any the best in right counts; of equal ones the middle.

    Presence is judged by the mean of sensitivity and specificity; about as well is one healthy patient less.
    """

    def worth(size: float) -> tuple[float, int]:
        counts = [sum(one >= size for one in found) for found, _ in cases]
        right = {True: [], False: []}
        for count, (_, true) in zip(counts, cases, strict=True):
            right[true > 0].append((count > 0) == (true > 0))
        balanced = float(np.mean([np.mean(one) for one in right.values() if one]))
        return balanced, sum(count == true for count, (_, true) in zip(counts, cases, strict=True))

    sizes = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 10.0, 20.0, 50.0)
    judged = [worth(size) for size in sizes]
    healthy = sum(not true for _, true in cases)
    enough = max(judged)[0] - (0.5 / healthy if healthy else 0) - 1e-9
    able = [(counts, size) for (balanced, counts), size in zip(judged, sizes, strict=True) if balanced >= enough]
    equal = [size for counts, size in able if counts == max(able)[0]]
    return equal[(len(equal) - 1) // 2]


# Tables.


def spoken(interval: Interval, digits: int = 2) -> str:
    if np.isnan(interval.value):
        return "-"
    if np.isnan(interval.low):
        return f"{interval.value:.{digits}f}"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def mean(values: Sequence[float]) -> str:
    return spoken(bootstrap(np.array(values, float))) if values else "-"


def segmentation_table(lines: Sequence[dict], names: Sequence[str], lesions: Sequence[str]) -> str:
    """A row a label; sizes are those of the largest part, as the expert tells them."""
    rows = ["| label | cases | Dice | trivial | volume off by | within 10 % | diameter off by | within 10 % | found | "
            "rightly not found | trivial: found, rightly not |", "|---" * 11 + "|"]  # fmt: skip
    for name in names:
        told = [line["told"][name] for line in lines]
        there, free = [one for one in told if one["true"][0]], [one for one in told if not one["true"][0]]
        trivial = [one["trivial"] for one in there if "trivial" in one]
        cells = [name, str(len(there)), mean([one["dice"] for one in there]), mean([one["dice"] for one in trivial])]
        for index in (0, 1):
            off = [abs(one["said"][index] - one["true"][index]) / one["true"][index]
                   for one in there if one["said"][0] and one["true"][index]]  # fmt: skip
            cells += [f"{np.median(off):.1%}", f"{np.mean(np.array(off) <= 0.1):.0%}"] if off else ["-", "-"]
        seen, quiet = [bool(one["said"][0]) for one in there], [not one["said"][0] for one in free]
        cells += [mean(seen), mean(quiet)] if name in lesions else ["", ""]
        told_trivially = [mean([bool(one["said"][0]) for one in trivial]),
                          mean([not one["trivial"]["said"][0] for one in free if "trivial" in one])]  # fmt: skip
        rows.append("| " + " | ".join([*cells, ", ".join(told_trivially) if name in lesions else ""]) + " |")
    return "\n".join(rows)


def classification_table(lines: Sequence[dict], prior: dict[str, float]) -> str:
    rows = ["| finding | with / cases | AUROC | Brier | of the prior | calibration error | of the prior | found | "
            "rightly not found |", "|---" * 9 + "|"]  # fmt: skip
    for name in CLASSES.values():
        pairs = [(str(line["seed"]), *line["told"][name]) for line in lines]
        ours = [Row(found(p >= 0.5), there, probability=p, cluster=seed) for seed, p, there in pairs]
        simple = [Row(found(prior[name] >= 0.5), there, probability=prior[name], cluster=seed)
                  for seed, _, there in pairs]  # fmt: skip
        cells = [name, f"{sum(there for *_, there in pairs)} / {len(pairs)}"]
        cells += [spoken(bootstrap(ours, METRICS["auroc"]))]
        for metric in ("brier", "ece"):
            cells += [spoken(bootstrap(rows_of, METRICS[metric]), 3) for rows_of in (ours, simple)]
        cells += [spoken(bootstrap(ours, METRICS[metric])) for metric in ("sensitivity", "specificity")]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def subset_table(lines: Sequence[dict], cases: int) -> str:
    """Dice of each region by the sequences that were there, on the same patients."""
    rows = ["| sequences | " + " | ".join(REGIONS) + " | tumor found | rightly not found |", "|---" * 6 + "|"]
    first = set(seeds_of("test", FIRST, cases))
    for size in (4, 3, 2, 1):
        for some in combinations(SEQUENCES, size):
            told = [line["told"] for line in lines if tuple(line["sequences"]) == some and line["seed"] in first]
            cells = [mean([one[name]["dice"] for one in told if one[name]["dice"] is not None]) for name in REGIONS]
            tumors = [one["whole tumor"] for one in told]
            cells.append(mean([bool(one["said"][0]) for one in tumors if one["true"][0]]))
            cells.append(mean([not one["said"][0] for one in tumors if not one["true"][0]]))
            rows.append(f"| {', '.join(some)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def report(what: str, lines: Sequence[dict], options: argparse.Namespace) -> None:
    table: Callable[[Sequence[dict]], str]
    if what == "chest":
        prior = shares()

        def table(some):
            return classification_table(some, prior)
    else:
        names = list(REGIONS) if what == "brain" else list(TORSO["labels"].values())
        lesions = names if what == "brain" else list(HOSTS)

        def table(some):
            return segmentation_table(some, names, lesions)

    whole = [line for line in lines if tuple(line["sequences"]) == SEQUENCES]
    seconds = [line["told"]["seconds"] for line in whole]
    print(f"\n## {what.upper()}: {options.cases} test patients, {np.median(seconds):.1f} s a study (median)")
    for title, styles in (("Styles of training (A, B, C)", IN_STYLE), ("Another style (D)", OUT_OF_STYLE)):
        print(f"\n{title}\n\n" + table([line for line in whole if line["style"] in styles]))
    if what == "brain" and options.subset_cases:
        count = min(options.subset_cases, options.cases)
        inside = [line for line in lines if line["style"] in IN_STYLE]
        print(f"\nDice with sequences missing, styles A, B, C, {count} patients\n\n{subset_table(inside, count)}")


def pack(bundle: Path, out: Path) -> None:
    """Write a bundle as it is shipped; what lies in `out` and is not made here (the model card) stays."""
    state = load_file(bundle / "models" / "model.safetensors")
    (out / "models").mkdir(parents=True, exist_ok=True)
    (out / "configs").mkdir(exist_ok=True)
    path = out / "models" / "model.safetensors"
    save_file({name: one.half() if one.is_floating_point() else one for name, one in state.items()}, path)
    shutil.copyfile(bundle / "configs" / "inference.json", out / "configs" / "inference.json")
    facts = json.loads((bundle / "configs" / "metadata.json").read_text())
    facts["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (out / "configs" / "metadata.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=[*KINDS, "pack"])
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--subset-cases", type=int, default=2, help="patients whose MRI is seen with sequences missing")
    parser.add_argument("--bundle", type=Path, help="another bundle than the embedded one")
    parser.add_argument(
        "--grid", action="store_true", help="labels decided on the study's grid beside the nearest ones"
    )
    parser.add_argument("--offsets", action="store_true", help="of TORSO: let lesions come out as large as they are")
    parser.add_argument("--specks", action="store_true", help="set the smallest sizes in the bundle's metadata")
    parser.add_argument("--out", type=Path, help="of pack")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "attending-experts")
    options = parser.parse_args()
    if options.what == "pack":
        if not (options.bundle and options.out):
            parser.error("pack needs --bundle and --out")
        pack(options.bundle, options.out)
        return
    for what, expert in zip(KINDS, embedded(), strict=True):
        if options.what not in (what, None):
            continue
        if options.bundle is not None:
            expert.folder = options.bundle
        missing = expert.available()
        if missing is not None:
            print(f"{expert.card.name}: {missing}", file=sys.stderr)
            continue
        began = time.monotonic()
        if options.grid and what != "chest":
            compare_grids(what, expert, options)
            continue
        if options.offsets and what == "torso":
            print(json.dumps(fit_offsets(expert, options), indent=1))
            continue
        if options.specks and what != "chest":
            print(json.dumps(fit_specks(what, expert, options), indent=1))
            continue
        report(what, measure(what, expert, options), options)
        print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
