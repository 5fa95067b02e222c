"""All slices of a 256x256x60 volume as pictures: ours, a bare numpy window and copy, and a loop like the reference's.

Run: `python benchmarks/pictures.py`. All ways run in turn, round after round, so that a busy machine slows them alike;
the table gives medians with least and greatest.

- *bare numpy*: window the whole volume in one expression, then copy every slice, grey, into display order.
- *per slice*: as the reference's server does, scale the **whole** volume anew for every slice, and take one slice of
  it. One round of this on a tenth of the slices, times ten.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from attending.imaging import Volume, Window, pictures, reference_pictures

SHAPE, WINDOW, ROUNDS = (256, 256, 60), Window(50, 400), 15


def bare(array: np.ndarray) -> list[np.ndarray]:
    low, high = 50 - 200, 50 + 200
    levels = ((np.clip(array, low, high) - low) / (high - low) * 255).astype(np.uint8)
    return [np.ascontiguousarray(levels[::-1, ::-1, k].T) for k in range(levels.shape[2])]


def per_slice(array: np.ndarray) -> list[np.ndarray]:
    shown = []
    for k in range(0, array.shape[2], 10):
        levels = np.clip((array.astype(np.float32) + 150) / 400 * 255, 0, 255)
        grey = np.rot90(levels[:, :, k].astype(np.uint8).swapaxes(0, 1), 2)
        shown.append(np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2)))
    return shown


def peak_mib(act: Callable[[], object]) -> float:
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    hounsfield = np.random.default_rng(0).normal(40, 200, SHAPE)
    print(
        f"{SHAPE} voxels, window {WINDOW.center:g} / {WINDOW.width:g}, {ROUNDS} rounds; ms, median [least-greatest]\n"
    )
    print("| voxels | way | ms | times bare | peak MiB |\n|---|---|---|---|---|")
    for dtype, order in ((np.int16, "F"), (np.int16, "C"), (np.float32, "F"), (np.float32, "C")):
        volume = Volume(np.array(hounsfield.astype(dtype), order=order), np.diag([-1.0, -1, 4, 1]), "CT")
        ways: dict[str, tuple[Callable[[], object], int]] = {
            "bare numpy": (lambda v=volume: bare(v.array), 1),
            "ours, kept": (lambda v=volume: list(pictures(v, "axial", WINDOW)), 1),
            "ours, walked through": (lambda v=volume: [p.index for p in pictures(v, "axial", WINDOW)], 1),
            "ours, reference scaling": (lambda v=volume: list(reference_pictures(v)), 1),
            "per slice": (lambda v=volume: per_slice(v.array), 10),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(ROUNDS + 1):
            for name, (act, factor) in ways.items():
                start = time.perf_counter()
                act()
                if round_:  # the first warms up
                    times[name].append((time.perf_counter() - start) * factor * 1e3)
        base = statistics.median(times["bare numpy"])
        for name, taken in times.items():
            median = statistics.median(taken)
            spread = f"{median:.1f} [{min(taken):.1f}-{max(taken):.1f}]"
            memory = peak_mib(ways[name][0])
            print(f"| {np.dtype(dtype)} {order} | {name} | {spread} | {median / base:.2f} | {memory:.1f} |")


if __name__ == "__main__":
    main()
