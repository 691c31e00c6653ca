"""A real file or folder in place of a variant's name: what it is, and what opens it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import msgspec

from phibench import backends, catalog
from phibench.catalog.plans.base import Plan
from phibench.core import folders, units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact
from phibench.measure.backend_choice import recommendable
from phibench.measure.request import RunRequest, every

# of model files; a name that ends so is none of a variant, even where there is no such file
_SUFFIXES = (".gguf", ".ggml", ".safetensors", ".onnx", ".ort", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".npz",
             ".llamafile", ".zip", ".tar", ".gz", ".xz", ".zst", ".7z")  # fmt: skip

# what is copied along with a path: quotes, and marks of direction from a dialog of Windows (ggml-org/llama.cpp 4921)
_AROUND = " \t\r\n\"'\u201c\u201d\u200e\u200f\u202a\u202c\ufeff"


def names(text: str) -> list[str]:
    """What ``-m`` lists: names between commas, or one path with commas in it."""
    is_path = bool(text.strip()) and os.path.lexists(folders.expanded(text))
    return [text] if is_path else units.names(text, "-m")


def is_file(name: str) -> bool:
    """A file or a folder, there or not; a name of the catalog is none, even where such a file lies about."""
    if name.strip(_AROUND).lower().endswith(_SUFFIXES):
        return True
    try:
        catalog.variant(name)
    except PhibenchError:
        return "/" in name or "\\" in name or os.path.lexists(folders.expanded(name))
    return False


def real_file(request: RunRequest) -> tuple[RunRequest, Artifact, Plan]:
    """The request with the names of what lies there; the backend is the one that opens such files."""
    from phibench.catalog.readers import folder, gguf

    if request.quantizations or request.layers is not None:
        raise PhibenchError("a file has its own quantization and layers: leave out -q and --layers")
    (name,) = request.models
    path = path_of(name)
    found = folder.recognise(path) if path.is_dir() else gguf.recognise(path)
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


def path_of(name: str) -> Path:
    """Raises PhibenchError (exit 2) for what is no path on this disk."""
    from phibench.catalog.readers import untrusted

    if re.match(r"[a-z][a-z0-9+.-]+://|hf\.co/|huggingface\.co/", name, re.IGNORECASE):
        raise PhibenchError(f"{name} is an address, and phibench downloads nothing: download it, and give the file")
    path = folders.expanded(name)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PhibenchError(f"the name of {name!a} is not UTF-8; rename it") from None
    if not os.path.exists(path):  # noqa: PTH110  Path's raises for a name that is too long
        if meant := _otherwise(name):
            raise PhibenchError(f"there is no file or folder {untrusted.plain(path)}; did you mean {meant}?")
        raise untrusted.missing(path, "file or folder")
    return path


def _otherwise(name: str) -> str | None:
    """What is there under this name without what stands around it, or written as this system does."""
    bare = name.strip(_AROUND)
    slashes = bare.replace("\\", "/")
    in_wsl = re.sub(r"^([A-Za-z]):/", lambda drive: f"/mnt/{drive[1].lower()}/", slashes)
    found = (str(folders.expanded(one)) for one in (bare, slashes, in_wsl) if one and one != name)
    return next((one for one in found if "\0" not in one and os.path.exists(one)), None)  # noqa: PTH110
