"""Where a network runs, in which precision, and what happens when the accelerator's memory is full."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

T = TypeVar("T")


def on_best_device(work: Callable[[torch.device], T]) -> T:
    """Run `work` on the accelerator when there is one; once more on the CPU when its memory is not enough."""
    if torch.cuda.is_available():
        try:
            return work(torch.device("cuda"))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return work(torch.device("cpu"))


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    features = torch.cpu.get_capabilities()
    return torch.bfloat16 if features.get("avx512_bf16") or features.get("amx_bf16") else torch.float32


def computing(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to `precision`; weights stay as they are."""
    dtype = precision(device)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def lean(network: torch.nn.Module) -> torch.nn.Module:
    """Keep the weights in the precision in which the CPU multiplies them, where it is the only device.

    Autocast rounds these weights to bfloat16 each time it uses them, so results stay as they are, to the bit.
    """
    if not torch.cuda.is_available() and precision(torch.device("cpu")) is torch.bfloat16:
        for module in network.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.to(torch.bfloat16)
    # glibc keeps what loading has freed between smaller pieces: 290 MB of VISTA3D's. Other libraries have no such call.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    return network
