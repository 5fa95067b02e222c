"""Fit the domain check of the embedded default, and measure it.

    OMP_NUM_THREADS=1 python benchmarks/domain.py fit
    OMP_NUM_THREADS=1 python benchmarks/domain.py measure --ct Cranium.inv3 --mri ch2.nii.gz --mri icbm152.nii.gz

`fit` writes `domain.safetensors` from phantoms of training seeds (styles A, B, C), its limits from validation seeds
(styles A to D). `measure` judges phantoms of test seeds, and pictures that are none: those that come with pydicom,
nibabel and scikit-image, the files named, photographs, and made-up ones. Both keep the small grey pictures of each
phantom in the folder `--work` and go on from there. Results are JSON on stdout, progress on stderr.
"""

import argparse
import json
import plistlib
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attending.consult.appearance import SIDE, appearance, shrink
from attending.consult.domain import Domain, Fit, looks, spread
from attending.corpora.cases import study_of
from attending.corpora.phantom_cases import phantom_cases
from attending.errors import AttendingError
from attending.imaging import Picture, Series, Volume, open_study
from attending.imaging.sequences import SEQUENCES
from attending.phantom import SPLITS

DATA = Path(__file__).parents[1] / "src/attending/consult/data/domain.safetensors"
MODALITY = {"ct": "CT", "mri": "MRI", "cxr": "CXR"}
FIRST = {"train": 300_000, "validation": 40_000, "test": 40_000}
"""First seed of each split that is used here."""
CASES = {"ct": 75, "mri": 45, "cxr": 180}
"""Training cases: an MRI gives twenty pictures, a CT five, a radiograph one."""
HELD_OUT = 32
ALTERED = 8
"""Of them, how many are also judged with something done to their pictures."""
LEAST_SD = 0.02
"""How exactly a feature is taken, so that one that never varies in phantoms (colour) is not infinitely surprising."""
MARGIN = 1.25
"""From the greatest score of the phantoms held out to the limit: there are few of them."""


def case_of(kind: str, split: str, number: int) -> tuple[int, str]:
    """Seed and style of the n-th case; style D is never trained on."""
    names = "ABC" if split == "train" else "ABCD"
    return SPLITS[split][FIRST[split] + number], names[number % len(names)]


def small_pictures(kind: str, seed: int, style: str, work: Path) -> None:
    """Write `[series, pictures, SIDE, SIDE]` of one phantom."""
    study = phantom_cases(kind, [seed], [style])[0].open().study
    found = np.stack([[shrink(picture.pixels) for picture in spread(series)] for series in study.series])
    path = work / f"{kind}-{style}-{seed}.npy"
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.save(file, found)
    aside.replace(path)


def prepare(splits: dict[str, dict[str, int]], work: Path, workers: int) -> None:
    """Make the pictures of all phantoms that are not there yet."""
    jobs = [
        (kind, *case_of(kind, split, number))
        for split, counts in splits.items()
        for kind, count in counts.items()
        for number in range(count)
    ]
    jobs = [job for job in jobs if not (work / f"{job[0]}-{job[2]}-{job[1]}.npy").exists()]
    start = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, future in enumerate(as_completed([pool.submit(small_pictures, *job, work) for job in jobs]), 1):
            future.result()
            print(f"{done} of {len(jobs)}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


@cache
def phantoms(kind: str, split: str, count: int, work: Path) -> list[tuple[str, np.ndarray]]:
    """Style and `[series, pictures, FEATURES]` of each case, in order."""
    found = []
    for number in range(count):
        seed, style = case_of(kind, split, number)
        small = np.load(work / f"{kind}-{style}-{seed}.npy")
        found.append((style, np.stack([[appearance(grey) for grey in series] for series in small])))
    return found


def pictures_of(cases: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """`[pictures, FEATURES]` of all of them."""
    return np.concatenate([case.reshape(-1, case.shape[-1]) for _, case in cases])


def fitted(seen: np.ndarray) -> Fit:
    """A Gaussian with its covariance shrunk by Ledoit and Wolf, of `[pictures, FEATURES]`; without a limit.

    Its middle picture has a score of 1.
    """
    from sklearn.covariance import LedoitWolf

    mean, scale = seen.mean(0), np.sqrt(seen.var(0) + LEAST_SD**2)
    covariance = LedoitWolf().fit((seen - mean) / scale).covariance_ + np.diag((LEAST_SD / scale) ** 2)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance)).T / scale
    usual = np.median(np.sqrt((((seen - mean) @ whiten.T) ** 2).mean(1)))
    return Fit(mean, whiten / usual, np.inf)


def scores_of(way: Callable[[np.ndarray], float], cases: list[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores of studies by style."""
    found: dict[str, list[float]] = {}
    for style, case in cases:
        found.setdefault(style, []).append(max(way(series) for series in case))
    return {style: np.array(values) for style, values in sorted(found.items())}


def limit_of(scores: dict[str, np.ndarray]) -> float:
    return MARGIN * max(float(values.max()) for values in scores.values())


def fit(work: Path, workers: int) -> dict:
    from safetensors.numpy import save

    prepare({"train": CASES, "validation": dict.fromkeys(CASES, HELD_OUT)}, work, workers)
    stored, told = {}, {}
    for kind, name in MODALITY.items():
        seen = pictures_of(phantoms(kind, "train", CASES[kind], work))
        found = fitted(seen)
        scores = scores_of(found.score, phantoms(kind, "validation", HELD_OUT, work))
        stored |= {f"{name}.mean": found.mean, f"{name}.whiten": found.whiten, f"{name}.limit": [limit_of(scores)]}
        greatest = {style: round(float(values.max()), 3) for style, values in scores.items()}
        told[name] = {"pictures": len(seen), "features": seen.shape[1], "limit": round(limit_of(scores), 3)} | greatest
    DATA.write_bytes(save({key: np.ascontiguousarray(value, np.float32) for key, value in stored.items()}))
    return told


# Pictures that are no phantoms.

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png",
    "page.png", "rocket.jpg", "text.png",
)  # fmt: skip
OTHER_MEDICAL = ("ihc.png", "microaneurysms.png", "retina.jpg")


class Alien(NamedTuple):
    """What is no phantom: where it is from, what sort of thing, as what it is shown, `[pictures, FEATURES]`."""

    source: str
    sort: str
    modality: str
    looks: np.ndarray


def aliens(files: dict[str, list[Path]]) -> Iterator[Alien]:
    """All there are here; what cannot be read is told on stderr."""
    import nibabel
    import pydicom
    import skimage

    dicom = Path(pydicom.__file__).parent / "data/test_files"
    tests = Path(nibabel.__file__).parent
    photographs = Path(skimage.__file__).parent / "data"
    for name in ("CT_small", "693_J2KI", "J2K_pixelrep_mismatch"):
        yield from opened(f"pydicom {name}", "CT", "real", dicom / f"{name}.dcm")
    for name in ("MR_small", "examples_overlay"):
        yield from opened(f"pydicom {name}", "MRI", "real", dicom / f"{name}.dcm")
    for folder in ("tests/data", "nicom/tests/data"):
        yield from opened("nibabel", "MRI", "real", tests / folder, lambda one: min(one.shape[:2]) >= 96)
    for name, paths in files.items():
        for path in paths:
            if path.suffix == ".inv3":
                yield from head_ct(path)
            else:
                yield from opened(path.name, name, "real", path)
    for name in ("examples_jpeg2k", "examples_palette", "examples_rgb_color", "examples_ybr_color", "JPEG2000"):
        yield from everywhere(f"pydicom {name}", "other medical", dicom / f"{name}.dcm")
    for name in OTHER_MEDICAL:
        yield from everywhere(name, "other medical", photographs / name)
    for name in PHOTOGRAPHS:
        yield from everywhere(name, "photograph", photographs / name)
    for name, grey in made_up().items():
        for modality in MODALITY.values():
            yield Alien(name, "made up", modality, looks([picture_of_grey(grey)]))


def opened(
    source: str, modality: str, sort: str, path: Path, wanted: Callable[[Series], bool] = lambda series: True
) -> Iterator[Alien]:
    """The series of a file or folder that are of a modality or do not say."""
    try:
        study = open_study(path, modality=modality)
        for series in study.series:
            if (series.modality == "MR") == (modality == "MRI") and wanted(series):
                name = f"{source} {series.description}" if len(study.series) > 1 else source
                yield Alien(name, sort, modality, looks(spread(series)))
    except AttendingError as error:
        print(f"left out: {error}", file=sys.stderr)


def everywhere(source: str, sort: str, path: Path) -> Iterator[Alien]:
    """A picture as if it were of each modality in turn."""
    try:
        for series in open_study(path).series:
            seen = looks(spread(series))
            yield from (Alien(source, sort, modality, seen) for modality in MODALITY.values())
    except AttendingError as error:
        print(f"left out: {error}", file=sys.stderr)


def head_ct(path: Path) -> Iterator[Alien]:
    """An InVesalius project: the CT, and what a radiograph of it from the front and the side would show."""
    with tarfile.open(path) as archive:
        read = {Path(name).name: archive.extractfile(name).read() for name in archive.getnames() if "mask" not in name}
    facts = plistlib.loads(read["main.plist"])
    voxels = np.frombuffer(read[facts["matrix"]["filename"]], "<i2").reshape(facts["matrix"]["shape"])
    affine = np.diag([-facts["spacing"][0], -facts["spacing"][1], facts["spacing"][2], 1])
    volume = Volume(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine)
    yield Alien(path.name, "real", "CT", looks(spread(study_of({"head": volume}, "CT").series[0])))
    for axis, side in ((1, "front"), (2, "side")):
        dense = np.clip(voxels.astype(float) + 1000, 0, None).sum(axis)[::-1]
        light = np.exp(-3 * dense / dense.max())
        grey = 255 * (light.max() - light) / np.ptp(light)
        yield Alien(f"{path.name} projected, {side}", "projected", "CXR", looks([picture_of_grey(grey)]))


def made_up() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(256), np.arange(256))
    return {
        "black": np.zeros((256, 256)),
        "grey": np.full((256, 256), 128),
        "white": np.full((256, 256), 255),
        "noise, uniform": rng.integers(0, 256, (256, 256)),
        "noise, normal": np.clip(rng.normal(128, 40, (256, 256)), 0, 255),
        "ramp": across,
        "disc": np.where(np.hypot(across - 128, down - 128) < 90, 150, 0),
    }


def picture_of_grey(grey: np.ndarray) -> Picture:
    return Picture(np.repeat(grey.astype(np.uint8)[..., None], 3, 2))


# Measuring.


def altered() -> dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]:
    """What may have happened to a picture `[SIDE, SIDE]` on its way."""
    from scipy.ndimage import gaussian_filter, zoom

    def noisy(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.clip(grey + rng.normal(0, 13, grey.shape), 0, 255)

    def larger(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        edge = SIDE // 8
        return zoom(grey[edge:-edge, edge:-edge], 4 / 3, order=1)

    return {
        "mirrored": lambda grey, rng: grey[:, ::-1],
        "upside down": lambda grey, rng: grey[::-1],
        "turned by 90 degrees": lambda grey, rng: grey.T,
        "inverted": lambda grey, rng: 255 - grey,
        "gamma 2": lambda grey, rng: 255 * (grey / 255.0) ** 2,
        "blurred by 1 pixel": lambda grey, rng: gaussian_filter(grey.astype(float), 1),
        "noise of 5 %": noisy,
        "enlarged by a third": larger,
    }


def ways(trained: np.ndarray) -> dict[str, Callable[[np.ndarray], float]]:
    """The scores that were tried: `[pictures, FEATURES]` of a series to its distance."""
    shrunk = fitted(trained)
    mean, scale = trained.mean(0), np.sqrt(trained.var(0) + LEAST_SD**2)
    alone = Fit(mean, np.diag(1 / scale), np.inf)
    known = (trained - mean) / scale

    def nearest(seen: np.ndarray) -> float:
        far = [np.sort(((known - one) ** 2).mean(1))[4] for one in (seen - mean) / scale]
        return float(np.sqrt(np.median(far)))

    return {"Mahalanobis": shrunk.score, "each feature alone": alone.score, "fifth neighbour": nearest}


def choose(name: str, kind: str, strange: list[Alien], work: Path) -> dict:
    """Leave one source out: choose the score by the others and validation phantoms, then judge it and test phantoms.

    The score chosen is the one whose limit the nearest of the other sources exceeds by the greatest factor.
    """
    from sklearn.metrics import roc_auc_score

    cases = {split: phantoms(kind, split, HELD_OUT, work) for split in ("validation", "test")}
    trained = pictures_of(phantoms(kind, "train", CASES[kind], work))
    ratio, phantom, auroc = {}, {}, {}
    for way, rate in ways(trained).items():
        limit = limit_of(scores_of(rate, cases["validation"]))
        ratio[way] = [rate(one.looks) / limit for one in strange]
        phantom[way] = np.concatenate(list(scores_of(rate, cases["test"]).values())) / limit
        values = [*phantom[way], *ratio[way]]
        auroc[way] = round(float(roc_auc_score([0] * len(phantom[way]) + [1] * len(strange), values)), 4)
    chosen, found = [], []
    for left in range(len(strange)):
        nearest = {way: min(r for i, r in enumerate(ratio[way]) if i != left) for way in ratio}
        best = max(nearest, key=lambda way: nearest[way])
        chosen.append(best)
        found.append(ratio[best][left] > 1)
    return {
        "sources": len(strange),
        "nearest_by_score": {way: round(min(values), 2) for way, values in ratio.items()},
        "test_phantoms_flagged": {way: round(float((values > 1).mean()), 4) for way, values in phantom.items()},
        "auroc": auroc,
        "chosen": {way: chosen.count(way) for way in ratio},
        "left_out_detected": sum(found),
    }


def measure(work: Path, workers: int, files: dict[str, list[Path]]) -> dict:
    prepare(
        {"train": CASES, "validation": dict.fromkeys(CASES, HELD_OUT), "test": dict.fromkeys(CASES, HELD_OUT)},
        work,
        workers,
    )
    strange = list({(one.modality, one.looks.tobytes()): one for one in aliens(files)}.values())  # some come twice
    domain = Domain.load()
    told: dict = {"seconds": speed()}
    for kind, name in MODALITY.items():
        fit = domain.fits[name]
        here = [one for one in strange if one.modality == name]
        ratios = sorted(((fit.score(one.looks) / fit.limit, one) for one in here), key=lambda pair: pair[0])
        scores = scores_of(fit.score, phantoms(kind, "test", HELD_OUT, work))
        told[name] = {
            "limit": round(fit.limit, 2),
            "test_phantoms": {
                style: {
                    "cases": len(values),
                    "median": round(float(np.median(values)), 2),
                    "greatest": round(float(values.max()), 2),
                    "flagged": int((values > fit.limit).sum()),
                }
                for style, values in scores.items()
            },
            "altered_flagged": altered_flagged(kind, fit, work),
            "sorts": {
                sort: {
                    "pictures": len(of_sort),
                    "flagged": sum(ratio > 1 for ratio, _ in of_sort),
                    "nearest": [f"{one.source}: {ratio * fit.limit:.1f}" for ratio, one in of_sort[:3]],
                }
                for sort in dict.fromkeys(one.sort for one in here)
                if (of_sort := [(ratio, one) for ratio, one in ratios if one.sort == sort])
            },
            "real": {one.source: round(fit.score(one.looks), 2) for one in here if one.sort in ("real", "projected")},
            "leave_one_source_out": choose(name, kind, here, work),
        }
    return told


def altered_flagged(kind: str, fit: Fit, work: Path) -> dict[str, float]:
    """Share of test phantoms of styles A to C that are flagged when something happened to their pictures."""
    found: dict[str, list[bool]] = {}
    for number in range(ALTERED):
        seed, style = case_of(kind, "test", number)
        if style == "D":
            continue
        small, rng = np.load(work / f"{kind}-{style}-{seed}.npy"), np.random.default_rng(number)
        for name, alter in altered().items():
            changed = [[appearance(alter(one, rng).astype(np.uint8)) for one in series] for series in small]
            found.setdefault(name, []).append(max(map(fit.score, np.array(changed))) > fit.limit)
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def speed() -> dict[str, float]:
    """Processor seconds for a study of usual size, its voxels read already."""
    rng, told = np.random.default_rng(0), {}
    for modality, shape, roles in (("CT", (512, 512, 300), ("ct",)), ("MR", (240, 240, 155), SEQUENCES)):
        volumes = {role: Volume(rng.integers(0, 900, shape, np.int16), np.eye(4)) for role in roles}
        study, domain = study_of(volumes, modality), Domain.load()
        start = time.process_time()
        domain.judge(study)
        told[f"{len(roles)} x {shape} {modality}"] = round(time.process_time() - start, 3)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fit", "measure"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "attending-domain")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ct", type=Path, action="append", default=[], help="a real CT, NIfTI or InVesalius project")
    parser.add_argument("--mri", type=Path, action="append", default=[], help="a real MRI, NIfTI")
    parser.add_argument("--cxr", type=Path, action="append", default=[], help="a real radiograph, PNG or JPEG")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.what == "fit":
        told = fit(given.work, given.workers)
    else:
        told = measure(given.work, given.workers, {"CT": given.ct, "MRI": given.mri, "CXR": given.cxr})
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
