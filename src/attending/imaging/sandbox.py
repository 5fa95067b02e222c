"""Run native decoders in a process of their own, so that a hostile file cannot take this one down.

Native codecs have had heap overflows and endless loops. The child has a memory limit and a time limit, gets file names
and sizes as JSON, and gives back raw values in a file: nothing it says is executed or unpickled.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from attending.errors import InputError
from attending.imaging.limits import Limits


def run(module: str, request: dict[str, Any], *, memory: int, path: str, limits: Limits) -> dict[str, Any]:
    """Start `module` as a child that calls `serve`, and return its answer; an answer with `error` is for the caller.

    Args:
        module: Dotted name of the child's module.
        request: What it is to do, as JSON.
        memory: Bytes it may use beyond `limits.decoder_bytes`.
        path: What messages call the input.
        limits: Its time and memory.

    Raises:
        InputError: It was killed, ran out of time, or broke off without an answer.
    """
    request = {**request, "memory": memory + limits.decoder_bytes, "seconds": limits.decoder_seconds}
    command = [sys.executable, "-P", "-m", module]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=limits.decoder_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        limits.refuse("decoder_seconds", "takes too long to decode", path=path, field="pixels")
        raise
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise InputError(f"cannot be decoded: the decoder was stopped by {name}", path=path, field="pixels")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        answer = None
    if not isinstance(answer, dict):
        raise InputError("cannot be decoded: the decoder broke off", path=path, field="pixels")
    return answer


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """In the child: confine this process, do what the request on stdin says, and answer on stdout."""
    request = json.load(sys.stdin)
    _confine(request["memory"], request["seconds"])
    warnings.simplefilter("ignore")
    try:
        answer = handle(request)
    except MemoryError:
        answer = {"error": "it needs more memory than it may have"}
    except Exception as error:  # whatever a codec raises is an answer here
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps(answer))


def _confine(memory: int, seconds: int) -> None:
    """Bound this process's address space, CPU time and core dumps, where the system can."""
    try:
        import resource

        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # not Linux: the parent's time limit still holds
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
