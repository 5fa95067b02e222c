"""Sliding-window inference whose memory is bounded by the window, not by the volume times the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from attending.experts.card import ExpertError
from attending.experts.device import precision
from attending.experts.expert import step
from attending.experts.monai_parts import compute_importance_map, dense_patch_slices

Predict = Callable[[torch.Tensor], torch.Tensor]
_MULTIPLE = 32  # a window's side is a multiple of this, so that networks can halve it five times
MAX_BYTES_ON_CPU = 2 * 128**3
"""Of one feature of a window."""
_THIN = 4  # planes of a slab at most, so that what is handed out takes little next to the buffers


def window_for(shape: Sequence[int], roi: Sequence[int], device: torch.device) -> tuple[int, int, int]:
    """The window to use: no larger than the image needs, and on a CPU no larger than its memory should be.

    That is 128 x 128 x 128 voxels in bfloat16, half as many in float32.

    Args:
        shape: Voxels of the image.
        roi: The window that the network's makers chose.
        device: Where the network runs.
    """
    sides = [min(side, -(-size // _MULTIPLE) * _MULTIPLE) for side, size in zip(roi, shape, strict=True)]
    most = MAX_BYTES_ON_CPU // precision(device).itemsize
    while device.type == "cpu" and sides[0] * sides[1] * sides[2] > most:
        longest = sides.index(max(sides))
        sides[longest] = max(_MULTIPLE, (sides[longest] - 1) // _MULTIPLE * _MULTIPLE)
    return sides[0], sides[1], sides[2]


def count_windows(shape: Sequence[int], roi: Sequence[int], overlap: float) -> int:
    """How many windows `blended` looks at."""
    return len(_places([max(size, side) for size, side in zip(shape, roi, strict=True)], roi, overlap))


def blended(
    image: torch.Tensor,
    predict: Predict,
    *,
    roi: Sequence[int],
    overlap: float,
    padding: str = "constant",
    buffer: torch.dtype = torch.float32,
    done: int = 0,
    total: int | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """The network's output over the whole image, blended with Gaussian weights, slab by slab along X.

    The same values as MONAI's `sliding_window_inference(mode="gaussian")`, which holds all classes of the whole image
    at once; here the buffers are as thick as one window.

    Args:
        image: `[C, X, Y, Z]` float32, on the CPU.
        predict: `[1, C, *roi]` to `[K, *roi]`, any device and precision.
        roi: The window's sides. An image that is smaller is padded, evenly on both sides.
        overlap: Share of the window that neighbours share, 0 to below 1.
        padding: How to pad: `constant` (0) or `replicate`.
        buffer: What the sums are kept in.
        done: Windows already done before this call, for `step`.
        total: Windows in all; by default those of this call.

    Yields:
        The X index at which a slab begins, and its logits `[K, x, Y, Z]` float32 on the CPU. Slabs are thin, come in
        order and cover the image once.

    Raises:
        ExpertError: The network returned something that is no number, or the run's time is over.
    """
    original = image.shape[1:]
    pads = [max(0, side - size) for side, size in zip(roi, original, strict=True)]
    if any(pads):
        both = [part for pad in reversed(pads) for part in (pad // 2, pad - pad // 2)]
        image = F.pad(image[None], both, mode=padding)[0]
    cut = [slice(pad // 2, pad // 2 + size) for pad, size in zip(pads, original, strict=True)]
    places = _places(image.shape[1:], roi, overlap)
    total = len(places) if total is None else total
    weight = compute_importance_map(tuple(roi), mode="gaussian", sigma_scale=0.125, device="cpu").float()
    starts = sorted({place[0].start for place in places})
    sums: torch.Tensor | None = None
    weights = torch.zeros(1, roi[0], *image.shape[2:])
    for index, start in enumerate(starts):
        for place in (place for place in places if place[0].start == start):
            step(done, total)
            out = predict(image[(slice(None), *place)][None])
            if out.ndim != 4 or out.shape[1:] != weight.shape:
                raise ExpertError(f"the network returned the shape {tuple(out.shape)} for a window of {tuple(roi)}")
            if sums is None:
                sums = torch.zeros(len(out), *weights.shape[1:], dtype=buffer)
            _add(out, weight, sums, place[1:])
            weights[:, :, place[1], place[2]] += weight
            del out
            done += 1
        assert sums is not None
        end = starts[index + 1] if index + 1 < len(starts) else start + roi[0]
        ready = end - start
        # What no further window reaches, less the padding.
        first, last = max(start, cut[0].start), min(end, cut[0].stop)
        for at in range(first, last, _THIN):
            part = slice(at - start, min(at + _THIN, last) - start)
            slab = (sums[:, part].float() / weights[:, part])[:, :, cut[1], cut[2]]
            if not torch.isfinite(slab).all():
                raise ExpertError("the network returned values too large to be blended")
            yield at - cut[0].start, slab
        for moved in (*sums, *weights):
            moved[: roi[0] - ready] = moved[ready:].clone()
            moved[roi[0] - ready :] = 0
    step(done, total)


def _add(out: torch.Tensor, weight: torch.Tensor, sums: torch.Tensor, place: tuple[slice, slice]) -> None:
    """Add a window's weighted output to the sums, channel by channel, since whole copies of it are large."""
    for blend, channel in zip(sums, out, strict=True):
        values = channel.float().cpu()
        if not torch.isfinite(values).all():
            raise ExpertError("the network returned values that are no numbers")
        blend[:, place[0], place[1]] += values * weight


def _places(shape: Sequence[int], roi: Sequence[int], overlap: float) -> list[tuple[slice, slice, slice]]:
    interval = [
        size if side == size else max(1, int(side * (1 - overlap))) for side, size in zip(roi, shape, strict=True)
    ]
    return [(place[0], place[1], place[2]) for place in dense_patch_slices(tuple(shape), tuple(roi), tuple(interval))]
