"""How fast a study becomes voxels: DICOM against pydicom, .nii.gz against nibabel, in one run, taking turns.

Run: `python benchmarks/reading.py [--rounds 7]`. Prints medians with least and greatest, and ratios by round.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import attending

SLICES, SIZE = 300, 512


def volume() -> np.ndarray:
    """A CT-like `[Z, Y, X]` int16 volume that compresses about as well as a real one."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-1 : 1 : SLICES * 1j, -1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    body = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1 + 0.1 * z
    noise = rng.normal(0, 12, (SLICES, SIZE, SIZE)).astype(np.int16)
    return np.where(body, 40 + noise, -1000).astype(np.int16)


def write_dicom(folder: Path, voxels: np.ndarray) -> None:
    """A CT series as scanners write it: 12 bits unsigned, intercept -1024, about 60 elements."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientID, ds.PatientName = "CT", "bench", "Bench^Mark"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        for number in range(36):  # the acquisition's own elements: there to be passed over
            ds.add_new(0x00181000 + number, "LO", f"value {number}")
        ds.SeriesNumber, ds.InstanceNumber = 2, k + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, k * 1.25], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1.25
        ds.Rows = ds.Columns = SIZE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelData = (plane + 1024).astype("<u2").tobytes()
        ds.save_as(folder / f"{k:04d}.dcm")


def pydicom_loop(folder: Path) -> np.ndarray:
    """The peer: read every file, put its pixels in HU into a preallocated float32 array, in order of position."""
    files = sorted(folder.iterdir())
    out = np.empty((len(files), SIZE, SIZE), np.float32)
    positions = np.empty(len(files))
    for k, file in enumerate(files):
        ds = pydicom.dcmread(file)
        positions[k] = ds.ImagePositionPatient[2]
        np.multiply(ds.pixel_array, np.float32(ds.RescaleSlope), out=out[k])
        out[k] += np.float32(ds.RescaleIntercept)
    return out if (np.diff(positions) > 0).all() else out[np.argsort(positions)]


def ours(path: Path) -> np.ndarray:
    """The same through the public surface, headers checked and all."""
    return attending.open_study(path).series[0].volume.array


def nibabel_raw(path: Path) -> np.ndarray:
    """The peer: stored values."""
    return np.asanyarray(nib.load(path).dataobj)


def race(name: str, ours: Callable[[], np.ndarray], peer: Callable[[], np.ndarray], rounds: int) -> None:
    """Time both in turn; print medians of wall and CPU seconds, and the median of the ratios by round."""
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    for turn in range(rounds + 1):
        for who, run in (("ours", ours), ("peer", peer)) if turn % 2 else (("peer", peer), ("ours", ours)):
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if turn:  # the first round warms the page cache
                times[who].append(spent)
    for clock, label in enumerate(("wall", "CPU")):
        a, b = ([spent[clock] for spent in times[who]] for who in ("ours", "peer"))
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        print(
            f"{name:24} {label:4}  ours {statistics.median(a):.3f} [{min(a):.3f}-{max(a):.3f}] s   "
            f"peer {statistics.median(b):.3f} [{min(b):.3f}-{max(b):.3f}] s   "
            f"{statistics.median(ratios):.2f}x faster [{min(ratios):.2f}-{max(ratios):.2f}]"
        )


def peak(run: Callable[[], np.ndarray]) -> tuple[float, float]:
    """Peak resident memory while `run` works, above that before it, in MB and in volumes."""
    gc.collect()
    page = 4096
    highest, stop = 0, threading.Event()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def watch() -> None:
        nonlocal highest
        while not stop.wait(0.001):
            highest = max(highest, resident())

    before = resident()
    watcher = threading.Thread(target=watch)
    watcher.start()
    array = run()
    stop.set()
    watcher.join()
    return (highest - before) / 1e6, (highest - before) / array.nbytes


def main() -> None:
    """Make the inputs, check that the results are equal, and race."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    voxels = volume()
    with tempfile.TemporaryDirectory() as name:
        folder, nifti = Path(name, "ct"), Path(name, "ct.nii.gz")
        folder.mkdir()
        write_dicom(folder, voxels)
        nib.save(nib.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([0.7, 0.7, 1.25, 1])), nifti)
        print(f"{SLICES} slices of {SIZE} x {SIZE}; .nii.gz of {nifti.stat().st_size / 1e6:.0f} MB; {rounds} rounds")
        assert np.array_equal(ours(folder).transpose(2, 1, 0), pydicom_loop(folder))
        assert np.array_equal(ours(nifti), nibabel_raw(nifti))
        for label, path in (("DICOM", folder), (".nii.gz", nifti)):
            megabytes, volumes = peak(lambda path=path: ours(path))
            print(f"{label:24} peak memory {megabytes:.0f} MB, {volumes:.2f} volumes")
        race("DICOM vs pydicom", lambda: ours(folder), lambda: pydicom_loop(folder), rounds)
        race(".nii.gz vs nibabel", lambda: ours(nifti), lambda: nibabel_raw(nifti), rounds)


if __name__ == "__main__":
    main()
