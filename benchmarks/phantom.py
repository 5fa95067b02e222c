"""Time the phantoms, measure the oracle with its removed-finding control, and fit its readers.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py
    OMP_NUM_THREADS=1 python benchmarks/phantom.py oracle --kind ct --cases 200
    OMP_NUM_THREADS=1 python benchmarks/phantom.py fit --kind ct --cases 430
    OMP_NUM_THREADS=1 python benchmarks/phantom.py fit --kind cxr --cases 1500

`fit` writes the weights of a reader from training seeds (CT needs torch); `oracle` judges on test seeds. Both keep each
case in the folder `--work` and go on from there. Results are JSON on stdout, progress goes to stderr.
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import ndimage

from attending.errors import InputError
from attending.imaging import Volume
from attending.phantom import SPLITS, generate, shadows
from attending.phantom.oracle import POINTS, READS, TISSUES, WHOLE, judge, lattice_score, radiograph_features, read
from attending.phantom.spots import Spots, find, torso

STYLES = "ABCD"
ROOM = Path(__file__).parents[1] / "src/attending/phantom"


def time_phantoms(runs: int) -> dict:
    found = {}
    for kind in READS:
        generate(kind, 1, shape=(128, 1, 128) if kind == "cxr" else (48, 48, 48))  # load libraries
        wall, truth, reading = [], [], []
        for seed in range(runs):
            start = time.process_time()
            case = generate(kind, seed, STYLES[seed % 4])
            made = time.process_time()
            _ = case.truth
            told = time.process_time()
            read(kind, case.volumes)
            wall.append(made - start)
            truth.append(told - made)
            reading.append(time.process_time() - told)
        found[kind] = {
            "study_s": [round(min(wall), 2), round(float(np.median(wall)), 2), round(max(wall), 2)],
            "truth_s": round(float(np.median(truth)), 3),
            "oracle_s": round(float(np.median(reading)), 2),
        }
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def each(task: Callable, jobs: list[tuple], workers: int | None) -> Iterator:
    """Results of `task(*job)` as they come, with a line of progress after each."""
    start = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, future in enumerate(as_completed([pool.submit(task, *job) for job in jobs]), 1):
            print(f"{done} of {len(jobs)}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            yield future.result()


# The oracle on test seeds.


def wishes(kind: str, seed: int, share: float) -> list[str]:
    rng = np.random.default_rng(seed)
    return [k for k in READS[kind] if rng.random() < share]


def examine(kind: str, seed: int) -> dict:
    """One test case with its findings, and the same patient without; `rows` is None where one hid another."""
    style = STYLES[seed % 4]
    asked = wishes(kind, seed, 0.5 if kind != "cxr" else 0.3)
    try:
        case = generate(kind, seed, style, findings=asked)
    except InputError:
        return {"seed": seed, "rows": None}
    seen = read(kind, case.volumes)
    removed = read(kind, generate(kind, seed, style, findings=[]).volumes) if asked else seen
    told = {f["kind"]: f for f in case.truth.visits[0]["findings"]}
    rows = {}
    for name in READS[kind]:
        size = told[name]["measurements"]["volume_ml"] if name in told and kind != "cxr" else None
        rows[name] = {
            "asked": name in asked,
            "seen": seen[name].present,
            "removed": removed[name].present,
            "score": seen[name].score,
            "volume_ml": size,
            "read_ml": seen[name].volume_ml if size else None,
            "side_right": seen[name].side == told[name]["side"] if name in told and seen[name].side else None,
        }
    return {"seed": seed, "rows": rows}


def oracle(kind: str, cases: int, work: Path, workers: int | None) -> dict:
    seeds = SPLITS["test"][1000 : 1000 + cases]
    parts = {
        "ct": ("spots.py", "data/ct_reader.safetensors"),
        "cxr": ("shadows.py", "data/radiograph_reader.safetensors"),
        "mri": (),
    }
    reader = [ROOM / name for name in ("oracle.py", *parts[kind])]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in reader)).hexdigest()[:12]
    kept = work / f"oracle-{kind}-{version}.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {line["seed"] for line in lines}
    with kept.open("a") as file:
        for line in each(examine, [(kind, seed) for seed in seeds if seed not in done], workers):
            file.write(json.dumps(line) + "\n")
            file.flush()
            lines.append(line)
    rows = [
        line["rows"] for line in sorted(lines, key=lambda line: line["seed"]) if line["rows"] and line["seed"] in seeds
    ]
    return {"cases": len(rows)} | {name: tally([r[name] for r in rows]) for name in READS[kind]}


def tally(rows: list[dict]) -> dict:
    there, said, blind = (np.array([r[field] for r in rows], bool) for field in ("asked", "seen", "removed"))
    ratio = [r["read_ml"] / r["volume_ml"] for r in rows if r["volume_ml"] and r["seen"] and r["asked"]]
    large = np.array([bool(r["volume_ml"] and r["volume_ml"] > 2) for r in rows])
    return {
        "present": int(there.sum()),
        "accuracy": round(float((there == said).mean()), 3),
        "sensitivity": round(float(said[there].mean()), 3),
        "sensitivity_over_2_ml": round(float(said[large].mean()), 3) if large.any() else None,
        "specificity": round(float((~said[~there]).mean()), 3),
        "balanced": round(float(said[there].mean() + (~said[~there]).mean()) / 2, 3),
        "balanced_with_finding_removed": round(float(blind[there].mean() + (~blind[~there]).mean()) / 2, 3),
        "volume_ratio_median": round(float(np.median(ratio)), 2) if ratio else None,
    }


# Fitting on training seeds: CT.


def points_of_case(seed: int, path: Path) -> None:
    """Write the points of one CT: all that lie in findings and some others, or all of them for setting limits."""
    rng = np.random.default_rng(seed)
    style = STYLES[int(rng.integers(4))]
    asked = []
    for kind in ("liver lesion", "lung nodule", "kidney lesion", "pancreas lesion"):
        if rng.random() < 0.5:
            asked.append(f"{kind}:count={1 if kind == 'pancreas lesion' else 1 + int(rng.random() < 0.4)}")
    found = {}
    try:
        visit = generate("ct", seed, style, findings=asked).visits[0]
    except InputError:
        visit = None
    if visit is not None:
        value = visit.volumes["ct"].array.astype(np.float32)
        masks = torso(value, visit.instances)
        kinds = [f.kind for f in visit.findings]
        found["kinds"] = np.array(kinds)
        some = np.random.default_rng(seed)
        for tissue, wanted in TISSUES.items():
            spots = find(value, visit.instances, *masks, tissue)
            label, which = lesion_points(spots, visit.instances, kinds, wanted)
            keep = np.ones(len(label), bool)
            if seed % 5:
                keep = (label > 0) | (label == 0) & (some.random(len(label)) < 4000 / len(label))
            parts = {"x": spots.features.astype(np.float16), "y": label, "w": which, "c": spots.cell.astype(np.int16)}
            found |= {f"{tissue}_{name}": part[keep] for name, part in parts.items()}
    aside = path.with_suffix(".tmp.npz")
    np.savez(aside, **found)
    aside.replace(path)


def lesion_points(spots: Spots, instances: Volume, kinds: list[str], wanted: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Per point 1 + which of the wanted kinds it lies in, 0 for none, -1 where too near to say; and which finding."""
    at = np.minimum(np.rint(spots.center).astype(int), np.array(instances.shape) - 1)
    label, which = np.zeros(len(at), np.int8), np.zeros(len(at), np.int8)
    for number, kind in enumerate(kinds, 1):
        if kind not in wanted:
            continue
        far = ndimage.distance_transform_edt(instances.array != number, instances.spacing)[tuple(at.T)]
        inside = far == 0 if (far == 0).sum() > 1 else far < 2.6
        label[(far < 6) & (label <= 0)] = -1
        label[inside] = 1 + wanted.index(kind)
        which[inside] = number
    return label, which


def fit_ct(cases: int, work: Path, workers: int | None, first: int = 110_000) -> dict:
    """A network of two hidden layers for each tissue; limits where most are right on a fifth of the cases."""
    paths = [work / f"{seed}.npz" for seed in range(first, first + cases)]
    jobs = [(int(path.stem), path) for path in paths if not path.exists()]
    for _ in each(points_of_case, jobs, workers) if jobs else ():
        pass
    loaded = [(int(path.stem), np.load(path)) for path in paths]
    whole = [(seed, data) for seed, data in loaded if "kinds" in data.files]
    weights, report = {}, {"cases": len(whole)}
    for tissue, kinds in TISSUES.items():
        part = train([data for seed, data in whole if seed % 5], tissue, len(kinds))
        weights |= part
        limits = []
        for k, kind in enumerate(kinds):
            scores, there = [], []
            for _, data in ((s, d) for s, d in whole if s % 5 == 0):
                points = Spots(data[f"{tissue}_c"].astype(int), np.zeros((0, 3)), np.zeros((0, 0), np.float32))
                chance = judge(data[f"{tissue}_x"].astype(np.float32), part, tissue)[:, k]
                scores.append(float(lattice_score(points, chance).max()))
                there.append(kind in data["kinds"])
            limit, right = best_limit(np.array(scores), np.array(there))
            limits.append(limit)
            report[kind] = right
        weights[f"{tissue}.limit"] = np.array(limits)
    path = ROOM / "data/ct_reader.safetensors"
    keep(path, weights)
    return report | {"bytes": path.stat().st_size}


def keep(path: Path, weights: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: value.astype("f4" if "limit" in name else "f2") for name, value in weights.items()}, path)


def best_limit(scores: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    """The limit with the highest balanced accuracy, in the middle of the gap or plateau, and that accuracy."""
    options = np.unique(scores)
    options = np.append((options[1:] + options[:-1]) / 2, options[-1] + 1) if len(options) > 1 else options + 1
    right = np.array([((scores[there] > t).mean() + (scores[~there] <= t).mean()) / 2 for t in options])
    good = options[right > right.max() - 0.005]
    return float(np.median(good)), round(float(right.max()), 3)


def train(cases: list, tissue: str, kinds: int, steps: int = 3600, batch: int = 4096) -> dict[str, np.ndarray]:
    """Fit the network on points; every finding counts alike, and errors among the others are shown more often."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    rows = [(d[f"{tissue}_x"], d[f"{tissue}_y"], d[f"{tissue}_w"]) for d in cases]
    values = np.concatenate([x[y >= 0] for x, y, _ in rows]).astype(np.float32)
    label = torch.from_numpy(np.concatenate([y[y >= 0] for _, y, _ in rows]).astype(int))
    weight = []
    for _, y, which in rows:
        count = np.bincount(which[y >= 0], minlength=1)
        weight.append(np.minimum(20, 60 / np.maximum(count, 1))[which[y >= 0]])
    mean, spread = values.mean(0), values.std(0) + 1e-3
    scaled = torch.from_numpy(np.clip((values - mean) / spread, -6, 6))
    net = nn.Sequential(
        nn.Linear(values.shape[1], 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, kinds + 1)
    )
    inside, outside = (label > 0).nonzero()[:, 0], (label == 0).nonzero()[:, 0]
    odds = torch.from_numpy(np.concatenate(weight))[inside]
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    hard = outside
    for step in range(steps):
        chosen = [inside[torch.multinomial(odds, batch // 5, replacement=True)]]
        chosen += [pool[torch.randint(len(pool), (batch * 2 // 5,))] for pool in (outside, hard)]
        index = torch.cat(chosen)
        shaken = scaled[index] + 0.06 * torch.randn(len(index), scaled.shape[1])
        loss = nn.functional.cross_entropy(net(shaken), label[index], label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 300 == 299 and step > 600:
            with torch.no_grad():
                none = torch.cat([net(scaled[part]).softmax(1)[:, 0] for part in outside.split(65536)])
            hard = outside[none.argsort()[: max(3000, len(outside) // 60)]]
    found = {f"{tissue}.{name}": value.detach().numpy() for name, value in net.named_parameters()}
    return found | {f"{tissue}.mean": mean, f"{tissue}.spread": spread}


# Fitting on training seeds: radiographs.


def film_of_case(seed: int, path: Path) -> None:
    """Write one radiograph at 256 x 256, the kinds it shows, and which of 32 x 32 cells the shadow of each touches."""
    rng = np.random.default_rng(seed)
    style = STYLES[int(rng.integers(4))]
    asked = [kind for kind in READS["cxr"] if rng.random() < 0.3]
    found = {}
    try:
        visit = generate("cxr", seed, style, findings=asked).visits[0]
    except InputError:
        visit = None
    if visit is not None:
        cells = np.zeros((len(READS["cxr"]), 32, 32), bool)
        for finding, mask in zip(visit.findings, visit.instances.array, strict=False):
            cells[READS["cxr"].index(finding.kind)] |= mask[:, 0].reshape(32, 16, 32, 16).any((1, 3))
        picture = shadows.shrink(visit.volumes["frontal"].array[:, 0].astype(np.float32), 256)
        found = {"img": (picture / 16).astype(np.uint8), "cells": cells}
        found["labels"] = np.array([kind in asked for kind in READS["cxr"]])
    aside = path.with_suffix(".tmp.npz")
    np.savez_compressed(aside, **found)
    aside.replace(path)


def shadow_points(cells: np.ndarray) -> np.ndarray:
    """Per point 1 + which of `POINTS` it lies in, 0 for none, -1 where the cells are too coarse to say."""
    points = shadows.places()
    cell = np.clip(points // 8, 0, 31)
    label = np.zeros(len(points), np.int8)
    for number, kind in enumerate(POINTS, 1):
        mask = cells[READS["cxr"].index(kind)]
        if not mask.any():
            continue
        label[ndimage.binary_dilation(mask)[tuple(cell.T)] & (label == 0)] = -1
        if kind in ("consolidation", "effusion"):
            core = ndimage.binary_erosion(mask)
            label[(core if core.any() else mask)[tuple(cell.T)]] = number
            continue
        pieces, count = ndimage.label(mask, np.ones((3, 3)))
        for piece in range(1, count + 1):
            inside = np.argwhere(pieces == piece)
            if kind == "atelectasis":  # a thin band: the middle of each column
                for x in np.unique(inside[:, 0]):
                    z = inside[inside[:, 0] == x, 1].mean() * 8 + 3.5
                    label[(np.abs(points[:, 0] - x * 8 - 3.5) <= 4) & (np.abs(points[:, 1] - z) <= 5)] = number
                continue
            reach = 4.5 if len(inside) < 5 else 0.35 * np.sqrt(len(inside)) * 8
            label[((points - inside.mean(0) * 8 - 3.5) ** 2).sum(1) <= reach**2] = number
    return label


def fit_radiographs(cases: int, work: Path, workers: int | None, first: int = 100_000) -> dict:
    """Ridge regression for `WHOLE`, a network for `POINTS`; limits from a fifth of the cases."""
    paths = [work / f"{seed}.npz" for seed in range(first, first + cases)]
    jobs = [(int(path.stem), path) for path in paths if not path.exists()]
    for _ in each(film_of_case, jobs, workers) if jobs else ():
        pass
    films = [data for data in map(np.load, paths) if "img" in data.files]
    some, fifth = np.random.default_rng(0), []
    rows = []
    for number, film in enumerate(films):
        values, label = shadows.describe(film["img"].astype(np.float32)), shadow_points(film["cells"])
        if number % 5 == 0:
            fifth.append((values.astype(np.float16), film["labels"]))
            continue
        keep = (label == 0) & (some.random(len(label)) < 0.16)
        keep |= (label > 0) & (some.random(len(label)) < np.where(label > 3, 0.25, 1))
        rows.append({"p_x": values[keep].astype(np.float16), "p_y": label[keep], "p_w": label[keep]})
    part = train(rows, "p", len(POINTS))
    part = {name.replace("p.", "points.", 1): value for name, value in part.items()}
    chances = [judge(values.astype(np.float32), part, "points") for values, _ in fifth]
    limits, report = [], {"cases": len(films)}
    for k, kind in enumerate(POINTS):
        scores = np.array([shadows.score(chance[:, k]) for chance in chances])
        limit, report[kind] = best_limit(scores, np.array([there[READS["cxr"].index(kind)] for _, there in fifth]))
        limits.append(limit)
    part["points.limit"] = np.array(limits)
    whole, right = fit_whole(films)
    path = ROOM / "data/radiograph_reader.safetensors"
    keep(path, part | whole)
    return report | right | {"bytes": path.stat().st_size}


def fit_whole(films: list, ridge: float = 300.0) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Ridge regression of each of `WHOLE` on the whole picture."""
    values = [radiograph_features(Volume(film["img"][:, None].astype(np.float32), np.eye(4))) for film in films]
    columns = [READS["cxr"].index(kind) for kind in WHOLE]
    labels = np.stack([film["labels"][columns] for film in films])
    last, scaled = np.arange(len(films)) % 5 == 0, np.stack(values).astype(np.float64)
    mean, spread = scaled[~last].mean(0), scaled[~last].std(0) + 0.05
    scaled, target = (scaled - mean) / spread, labels[~last] * 2.0 - 1
    kernel = scaled[~last] @ scaled[~last].T
    weight = scaled[~last].T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), target - target.mean(0))
    best = [best_limit(scaled[last] @ weight[:, k], labels[last, k]) for k in range(len(WHOLE))]
    limits, right = zip(*best, strict=True)
    found = {"mean": mean, "spread": spread, "weight": weight, "limit": np.array(limits)}
    return found, dict(zip(WHOLE, right, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["time", "oracle", "fit"], default="time")
    parser.add_argument("--kind", choices=list(READS), default="ct")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "attending-phantom")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.what == "time":
        result = time_phantoms(8)
    elif options.what == "oracle":
        result = oracle(options.kind, options.cases, options.work, options.workers)
    elif options.kind == "ct":
        result = fit_ct(options.cases, options.work, options.workers)
    elif options.kind == "cxr":
        result = fit_radiographs(options.cases, options.work, options.workers)
    else:
        parser.error("the reader of brain MRI is not fitted")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
