"""Which backends take part: the usual one, those named, or all that can."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from phibench import backends, catalog
from phibench.backends import contract
from phibench.core.errors import PhibenchError
from phibench.measure.request import RunRequest, every


def resolve(request: RunRequest, on_note: Callable[[str], None]) -> RunRequest:
    """The request with its backends by name.

    ``on_note`` hears which backends ``all`` leaves out, and why. Raises PhibenchError when none is left.
    """
    names = request.backends or (_usual(),)
    if every(names):
        objections = {module.NAME: _objection(module, request) for module in recommendable()}
        left_out = [f"{name} is left out: {why}" for name, why in objections.items() if why]
        if len(left_out) == len(objections):
            raise PhibenchError("; ".join(left_out))
        for line in left_out:
            on_note(line)
        names = tuple(name for name, why in objections.items() if not why)
    return msgspec.structs.replace(request, backends=tuple(dict.fromkeys(backends.load(name).NAME for name in names)))


def _usual() -> str:
    """Raises PhibenchError where it is not installed and others are: none takes its place in silence."""
    here = [module.NAME for module in recommendable() if module.installed() is not None]
    if here and backends.DEFAULT not in here:
        line = backends.install_line(backends.load(backends.DEFAULT))
        raise PhibenchError(f"{backends.DEFAULT} is not installed: {line}; or name what is: -b {' or '.join(here)}")
    return backends.DEFAULT


def recommendable() -> list[contract.Backend]:
    return [module for module in map(backends.load, backends.names()) if module.RECOMMENDABLE]


def _objection(module: contract.Backend, request: RunRequest) -> str | None:
    """Why a backend cannot take part; None if it can."""
    if module.installed() is None:
        return f"not installed; {backends.install_line(module)}"
    built = {device.split(":")[0] for device in module.devices()}
    for device in map(str.lower, request.devices):
        if device.split(":")[0] not in built:
            return f"the build installed here cannot use {device}"
    for name in request.models:
        variant = catalog.variant(name)
        if why := backends.objection(module, variant):
            return f"{variant.id}: {why}"
    return None
