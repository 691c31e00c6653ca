"""A real file or folder in place of a variant's name: what it is, and what opens it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from phibench import backends, catalog
from phibench.catalog.plans.base import Plan
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact
from phibench.measure.backend_choice import recommendable
from phibench.measure.request import RunRequest, every


def is_file(name: str) -> bool:
    """A GGUF file or a folder, there or not; a name of the catalog is none, even where such a folder lies about."""
    if name.lower().endswith(".gguf"):
        return True
    try:
        catalog.variant(name)
    except PhibenchError:
        return os.sep in name or "/" in name or Path(name).expanduser().is_dir()
    return False


def real_file(request: RunRequest) -> tuple[RunRequest, Artifact, Plan]:
    """The request with the names of what lies there; the backend is the one that opens such files."""
    from phibench.catalog.readers import folder, gguf

    if request.quantizations or request.layers is not None:
        raise PhibenchError("a file is what it is: leave out -q and --layers")
    (name,) = request.models
    path = Path(name).expanduser()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PhibenchError(f"the name of {name!a} is not UTF-8; rename it") from None
    found = gguf.recognise(path) if path.suffix.lower() == ".gguf" else folder.recognise(path)
    for note in found.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    fitting = [module.NAME for module in recommendable() if found.plan.format in module.FORMATS]
    asked = request.backends if request.backends and not every(request.backends) else (fitting[0],)
    if wrong := [name for name in asked if backends.load(name).NAME not in fitting]:
        raise PhibenchError(f"{wrong[0]} does not open {path.name}; leave out -b, or use -b {fitting[0]}")
    named = msgspec.structs.replace(
        request, models=(found.variant,), quantizations=(found.quantization,), backends=asked
    )
    return named, found.artifact, found.plan
