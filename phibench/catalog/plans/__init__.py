"""Every tensor of variant x quantization x format: name, shape, type and bytes, before any file exists.

One module per format knows its files, and has the name of the format: ``catalog.formats()``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from phibench import catalog
from phibench.catalog.plans.base import NoFiles, Plan
from phibench.core.nouns import Variant


def plan(variant: Variant, quantization: str, layers: int | None = None, *, fmt: str, half: bool = False) -> Plan:
    """The plan of the whole model, or of a slice of ``layers``; ``half``: of what is published for GPUs, where that
    has other tensors.

    Raises NoFilesError (exit 2) when the variant has no such form, PhibenchError for another format's quantization.
    """
    more = {"half": half} if fmt == "onnx" else {}
    found: Plan = _module(fmt).plan(variant, quantization, layers, **more)
    return found


def objection(variant: Variant, fmt: str) -> NoFiles | None:
    """Why there are no files of this format; None where there are. ``backends.objection`` knows who runs others."""
    why: NoFiles | None = _module(fmt).objection(variant)
    return why


def can_plan(variant: Variant, fmt: str) -> bool:
    return objection(variant, fmt) is None


def _module(fmt: str) -> ModuleType:
    assert fmt in catalog.formats()
    return importlib.import_module(f"{__name__}.{fmt}")
