"""Which backends take part: the usual one, those named, or all that can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phibench import backends, catalog, units
from phibench.catalog import plan as plans
from phibench.errors import PhibenchError
from phibench.request import ALL, DEFAULT_BACKEND


def with_backends(flags: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """The flags with ``-b`` spelled out.

    ``note`` hears which backends ``all`` leaves out, and why. Raises PhibenchError when none is left.
    """
    flags = {**flags, "backend": DEFAULT_BACKEND if flags["backend"] is None else flags["backend"]}
    if flags["backend"].lower() == ALL:
        objections = {module.NAME: _objection(module, flags) for module in recommendable()}
        left_out = [f"{name} is left out: {why}" for name, why in objections.items() if why]
        if len(left_out) == len(objections):
            raise PhibenchError("; ".join(left_out))
        for line in left_out:
            note(line)
        flags["backend"] = ",".join(name for name, why in objections.items() if not why)
    names = dict.fromkeys(backends.load(name).NAME for name in units.names(flags["backend"], "--backend"))
    flags["backend"] = ",".join(names)
    return flags


def recommendable() -> list[backends.Backend]:
    return [module for module in map(backends.load, backends.names()) if module.RECOMMENDABLE]


def _objection(module: backends.Backend, flags: dict[str, Any]) -> str | None:
    """Why a backend cannot take part; None if it can."""
    if module.installed() is None:
        return f"not installed; pip install 'phibench[{module.EXTRA}]'"
    built = {device.split(":")[0] for device in module.devices()}
    for device in units.names(flags["device"].lower(), "--device"):
        if device.split(":")[0] not in built:
            return f"as it is installed here it cannot use {device}"
    for name in units.names(flags["model"], "--model"):
        variant = catalog.variant(name)
        if why := plans.objection(variant, module.FORMATS[0]):
            return f"{variant.id}: {why}"
    return None
