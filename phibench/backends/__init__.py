"""Engines behind one contract. The folder is the registry: a backend is a package here, and no other place names one.

In: a setup, a variant, a format. Out: the backend's facts, its plan of files that need not exist, its sessions.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path
from typing import cast

from phibench.backends.contract import Backend
from phibench.catalog import plans
from phibench.catalog.plans.base import Plan
from phibench.core import extras
from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Setup, Variant

DEFAULT = "llama_cpp"  # where nobody names one
_SINGLE = ("cpu", "metal", "mps", "coreml")  # kinds of which a machine has one: "cpu:0" would be no "cpu" elsewhere


@functools.cache
def names() -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg))


def load(name: str) -> Backend:
    """The backend's module. Raises PhibenchError for an unknown name."""
    known = names()
    wanted = name.lower().replace("-", "_")
    if wanted in known:
        return _load(wanted)
    for backend in map(_load, in_order()):
        if name.lower() in backend.ALIASES:
            return backend
    raise unknown("backend", name, known, f"there are: {', '.join(known)}")


def in_order() -> tuple[str, ...]:
    """All names, the default's first: whose turn it is where several would do."""
    return tuple(sorted(names(), key=lambda name: (name != DEFAULT, name)))


def for_format(fmt: str) -> tuple[Backend, ...]:
    """Those that open files of a format, the one that is taken first where nobody names one first."""
    return tuple(backend for backend in map(_load, in_order()) if fmt in backend.FORMATS)


def plan(
    backend: Backend, variant: Variant, quantization: str, layers: int | None = None, *, half: bool = False
) -> Plan:
    """Of what the backend opens, ``half``: on a GPU, as it is published for those.

    Raises PhibenchError (exit 2) where it opens none, or for a strange quantization."""
    if why := objection(backend, variant):
        raise PhibenchError(why)
    return plans.plan(variant, quantization, layers, fmt=backend.FORMATS[0], half=half)


def objection(backend: Backend, variant: Variant) -> str | None:
    """Why the backend has no files of the variant, and who has; None where it has some."""
    why, said = plans.objection(variant, backend.FORMATS[0]), backend.runs(variant)
    if said and said.runs is False and (why is None or why.unknown):
        return f"{backend.NAME} cannot run {variant.id}: {said.note}"
    if why is None:
        return None
    others = for_format(why.instead)
    return f"{why.reason}; {why.remedy.format(backend=others[0].NAME)}" if others else why.reason


@functools.cache
def _load(name: str) -> Backend:
    return cast("Backend", importlib.import_module(f"{__name__}.{name}"))


def install_line(backend: Backend, then: str = "") -> str:
    """What to type so that the engine is there; ``then``: see ``extras.line``."""
    return extras.line(backend.EXTRA, then=then)


COMPILES = "takes a C++ compiler"


def needs_compiler(backend: Backend) -> bool:
    return backend.ENGINE is not None and backend.ENGINE.compiled


def ready() -> Backend:
    """The engine for whoever has none: the first that comes without compiling."""
    engines = [backend for backend in map(_load, in_order()) if backend.ENGINE]
    return min(engines, key=needs_compiler)


def check_options(setup: Setup) -> None:
    """Every option of a setup must be one that its backend knows, with a value that it takes."""
    legal = load(setup.backend).LEGAL
    for key, value in setup.options:
        if key not in legal:
            raise unknown("option", key, legal, f"{setup.backend} knows: {', '.join(legal)}")
        allowed = legal[key]
        if isinstance(allowed, range):
            if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) in allowed):
                raise PhibenchError(f"{key} is a whole number from {allowed[0]} to {allowed[-1]}, not '{value}'")
        elif value not in allowed:
            raise unknown(f"value of {key}", value, allowed, f"it takes: {', '.join(allowed)}")


def check_device(setup: Setup) -> None:
    """A setup's device must be one that its backend can use, as it is installed here."""
    backend = load(setup.backend)
    kind, colon, index = setup.device.partition(":")
    if kind not in backend.KINDS or (colon and not (index.isascii() and index.isdigit())):
        raise unknown("device", setup.device, backend.KINDS, f"{setup.backend} can use: {', '.join(backend.KINDS)}")
    if colon and kind in _SINGLE:
        raise PhibenchError(f"{kind} takes no number: {kind}, not {setup.device}")
    built = backend.devices()
    if kind not in {device.split(":")[0] for device in built}:
        raise PhibenchError(
            f"{setup.backend}, as installed here, cannot use {setup.device}; it was built for {', '.join(built)}"
        )


def build(backend: Backend) -> str | None:
    """Which build of the engine is installed: its version and a digest of its libraries; None where there is none.

    Names, sizes and times of the files: milliseconds, and another after every installation.
    """
    import hashlib  # loads OpenSSL

    version = backend.installed()
    if version is None:
        return None
    digest = hashlib.sha256(os.environ.get("LLAMA_CPP_LIB_PATH", "").encode())  # llama-cpp-python loads from there
    for place in backend.LIBRARIES:
        module, _, folder = place.partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        with contextlib.suppress(OSError):
            for file in sorted(os.scandir(Path(spec.origin).parent / folder), key=lambda file: file.name):
                seen = file.stat()
                if file.is_file():
                    digest.update(f"{file.name} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return f"{version} {digest.hexdigest()[:10]}"


def effective(setup: Setup) -> dict[str, str]:
    """All options of a setup, defaults included."""
    return {**load(setup.backend).DEFAULTS, **dict(setup.options)}


def require(name: str) -> Backend:
    """Like load(), but the engine must be installed."""
    backend = load(name)
    if backend.installed() is None:
        raise PhibenchError(f"backend {name} is not installed: {install_line(backend)}")
    return backend
