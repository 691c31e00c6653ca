"""Faults that are planted into every child of a test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phibench import backends

PLANTED = Path(__file__).parent / "planted"


MISSING = [name for name in ("llama_cpp", "onnxruntime", "torch") if backends.load(name).installed() is None]


needs_engines = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def plant(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Into every child of this test."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLANTED), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PLANTED_FAULT", fault)
    monkeypatch.setenv("PHIBENCH_SILENCE", "90s")  # to import torch on a busy machine
