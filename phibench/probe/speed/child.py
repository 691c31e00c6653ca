"""Measure in a child process: BLAS and torch read their threads when they are imported, and memory goes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from phibench.core import ends, units

T = TypeVar("T")
_BLAS = ("OPENBLAS", "OMP", "MKL", "BLIS", "VECLIB_MAXIMUM")


def ask(module: str, arguments: Sequence[object], kind: type[T], limit_s: float, threads: int = 1) -> T | str:
    """The JSON answer of ``python -m module``, or the reason in words why there is none. BLAS gets ``threads``."""
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    variables = {f"{library}_NUM_THREADS": str(threads) for library in _BLAS}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=limit_s,
            env=os.environ | variables,
        )  # fmt: skip
        return msgspec.json.decode(done.stdout, type=kind)
    except subprocess.TimeoutExpired:
        return f"no answer in {units.duration(limit_s)}"
    except subprocess.CalledProcessError as error:
        return f"the measuring process {ends.end(error.returncode, error.stderr.decode('utf-8', 'replace'))}"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
