"""Time the phantoms, and measure the oracle with its removed-finding control.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py time
    OMP_NUM_THREADS=1 python benchmarks/phantom.py oracle --kind ct --cases 200
    OMP_NUM_THREADS=1 python benchmarks/phantom.py fit --cases 1000

`fit` writes the weights of the radiograph reader from training seeds; `oracle` judges on test seeds. Results are JSON.
"""

import argparse
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from attending.errors import InputError
from attending.phantom import SPLITS, generate
from attending.phantom.oracle import READS, radiograph_features, read

STYLES = "ABCD"
OTHERS = {"cxr": ("lung nodule", "atelectasis", "fracture")}  # drawn too, so that they cannot be told apart by absence


def time_phantoms(runs: int) -> dict:
    found = {}
    for kind in READS:
        generate(kind, 1, shape=(128, 1, 128) if kind == "cxr" else (48, 48, 48))  # load libraries
        wall, truth = [], []
        for seed in range(runs):
            start = time.process_time()
            case = generate(kind, seed, STYLES[seed % 4])
            middle = time.process_time()
            _ = case.truth
            wall.append(middle - start)
            truth.append(time.process_time() - middle)
        found[kind] = {
            "study_s": [round(min(wall), 2), round(float(np.median(wall)), 2), round(max(wall), 2)],
            "truth_s": round(float(np.median(truth)), 3),
        }
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def wishes(kind: str, seed: int, share: float) -> list[str]:
    rng = np.random.default_rng(seed)
    return [k for k in (*READS[kind], *OTHERS.get(kind, ())) if rng.random() < share]


def judge(kind: str, seed: int) -> dict | None:
    """One test case with its findings, and the same patient without."""
    share = 0.5 if kind != "cxr" else 0.3
    style = STYLES[seed % 4]
    asked = wishes(kind, seed, share)
    try:
        case = generate(kind, seed, style, findings=asked)
    except InputError:  # one hides another: not a fair question
        return None
    seen, removed = read(kind, case.volumes), read(kind, generate(kind, seed, style, findings=[]).volumes)
    sizes = {}
    for kind_ in READS[kind]:
        truth = [f["measurements"]["volume_ml"] for f in case.truth.visits[0]["findings"] if f["kind"] == kind_]
        if truth and seen[kind_].present and kind != "cxr":
            sizes[kind_] = seen[kind_].volume_ml / truth[0]
    return {k: (k in asked, seen[k].present, removed[k].present, sizes.get(k), seen[k].score) for k in READS[kind]}


def oracle(kind: str, cases: int) -> dict:
    seeds = SPLITS["test"][1000 : 1000 + cases]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rows = [r for r in pool.map(judge, [kind] * cases, seeds, chunksize=2) if r is not None]
    found = {"cases": len(rows)}
    for name in READS[kind]:
        table = np.array([r[name][:3] for r in rows], bool)
        there, said, blind = table.T
        ratio = [r[name][3] for r in rows if r[name][3] is not None and r[name][0]]
        found[name] = {
            "present": int(there.sum()),
            "accuracy": round(float((there == said).mean()), 3),
            "sensitivity": round(float(said[there].mean()), 3),
            "specificity": round(float((~said[~there]).mean()), 3),
            "balanced": round(float(said[there].mean() + (~said[~there]).mean()) / 2, 3),
            "balanced_with_finding_removed": round(float(blind[there].mean() + (~blind[~there]).mean()) / 2, 3),
            "volume_ratio_median": round(float(np.median(ratio)), 2) if ratio else None,
        }
    return found


def draw(seed: int) -> tuple[np.ndarray, list[bool]] | None:
    asked = wishes("cxr", seed, 0.3)
    try:
        case = generate("cxr", seed, STYLES[seed // 2 % 4], findings=asked)
    except InputError:
        return None
    return radiograph_features(case.volumes["frontal"]), [k in asked for k in READS["cxr"]]


def fit(cases: int, first: int = 10_000, ridge: float = 300.0) -> dict:
    """Ridge regression on four fifths; limits where both error rates meet on the last fifth."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        rows = [r for r in pool.map(draw, range(first, first + cases), chunksize=8) if r is not None]
    values, labels = np.stack([r[0] for r in rows]).astype(np.float64), np.array([r[1] for r in rows])
    last = np.arange(len(rows)) % 5 == 0
    mean, spread = values[~last].mean(0), values[~last].std(0) + 0.05
    scaled, target = (values - mean) / spread, labels * 2.0 - 1
    kernel = scaled[~last] @ scaled[~last].T
    alpha = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), target[~last] - target[~last].mean(0))
    weight = scaled[~last].T @ alpha
    scores = scaled[last] @ weight
    limits = []
    for k in range(labels.shape[1]):
        there = labels[last, k]
        options = np.sort(scores[:, k])
        limits.append(min(options, key=lambda t: abs((scores[there, k] <= t).mean() - (scores[~there, k] > t).mean())))
    path = Path(__file__).parents[1] / "src/attending/phantom/data/radiograph_reader.npz"
    np.savez_compressed(
        path,
        mean=mean.astype("f2"),
        spread=spread.astype("f2"),
        weight=weight.astype("f2"),
        limit=np.array(limits, "f4"),
    )
    return {"cases": len(rows), "bytes": path.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "oracle", "fit"])
    parser.add_argument("--kind", choices=list(READS), default="ct")
    parser.add_argument("--cases", type=int, default=200)
    options = parser.parse_args()
    if options.what == "time":
        result = time_phantoms(8)
    elif options.what == "oracle":
        result = oracle(options.kind, options.cases)
    else:
        result = fit(options.cases)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
