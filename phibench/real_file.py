"""A real file or folder in place of a variant's name: what it is, and what opens it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from phibench import backends, catalog, units
from phibench.backend_choice import recommendable
from phibench.catalog.one_plan import Plan
from phibench.errors import PhibenchError
from phibench.nouns import Artifact
from phibench.request import ALL


def is_file(name: str) -> bool:
    """A GGUF file or a folder, there or not; a name of the catalog is none, even where such a folder lies about."""
    if name.lower().endswith(".gguf"):
        return True
    try:
        catalog.variant(name)
    except PhibenchError:
        return os.sep in name or "/" in name or Path(name).expanduser().is_dir()
    return False


def real_file(flags: dict[str, Any]) -> tuple[dict[str, Any], Artifact, Plan]:
    """The flags with the names of what lies there; the backend is the one that opens such files."""
    from phibench.catalog import folder, gguf

    if flags["quant"] is not None or flags["layers"] is not None:
        raise PhibenchError("a file is what it is: leave out -q and --layers")
    path = Path(flags["model"]).expanduser()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PhibenchError(f"the name of {flags['model']!a} is not UTF-8; rename it") from None
    found = gguf.recognise(path) if path.suffix.lower() == ".gguf" else folder.recognise(path)
    for note in found.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    fitting = [module.NAME for module in recommendable() if found.plan.format in module.FORMATS]
    asked = fitting[0] if (flags["backend"] or ALL).lower() == ALL else flags["backend"]
    if wrong := [name for name in units.names(asked, "--backend") if backends.load(name).NAME not in fitting]:
        raise PhibenchError(f"{wrong[0]} does not open {path.name}; leave out -b, or use -b {fitting[0]}")
    return {**flags, "model": found.variant, "quant": found.quantization, "backend": asked}, found.artifact, found.plan
