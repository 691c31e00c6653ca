"""Accelerators: GPUs and NPUs as buses, drivers and vendors' libraries show them.

The folder is the registry: a module here with a function ``devices(root, providers)`` is one kind of accelerator, and
one of GPUs where it says ``GPUS = True``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from phibench.core.nouns import Device

Provider = tuple[str, str, str]  # execution provider, kind of device ("NPU"), vendor: as ONNX Runtime told them
_FIRST = ("nvidia", "apple")  # asked by calls; the others read files, in the order of their names


class Kind(Protocol):
    """No device and no driver is an empty tuple; where a recorded tree is ``root``, nothing of this machine is told."""

    def devices(self, root: Path, providers: Sequence[Provider], /) -> tuple[Device, ...]: ...


def gpus(root: Path) -> tuple[Device, ...]:
    """Every GPU that is here or in the tree."""
    return _devices(root, (), gpus=True)


def others(root: Path, providers: Sequence[Provider] = ()) -> tuple[Device, ...]:
    """Every other accelerator."""
    return _devices(root, providers, gpus=False)


def _devices(root: Path, providers: Sequence[Provider], *, gpus: bool) -> tuple[Device, ...]:
    kinds = [kind for kind in _kinds() if getattr(kind, "GPUS", False) == gpus]
    return tuple(device for kind in kinds for device in kind.devices(root, providers))


def _kinds() -> Iterator[Kind]:
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    for name in (*_FIRST, *sorted(set(names) - set(_FIRST))):
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "devices"):
            yield cast("Kind", module)
