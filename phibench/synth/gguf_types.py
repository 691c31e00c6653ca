"""``make types``: which tensor gets which type, asked from llama.cpp's own quantizer.

Each shape becomes a file of true widths with a header and no data (sparse), and the quantizer does a dry run on it:
milliseconds instead of the hours that real weights take, and true widths decide the fallbacks. It answers in
its log only, so every tensor must appear there, or nothing is written.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from phibench import catalog
from phibench.catalog import tensor_types
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.plans import gguf_layout
from phibench.catalog.plans.gguf import FileType, Mix, TypeTable
from phibench.core import ends, units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.nouns import Shape
from phibench.synth import quantizer

LLAMA_CPP_COMMIT = "0c1e57098"  # of llama-cpp-python 0.3.36, as its CHANGELOG.md says
ABOUT = "Types that llama.cpp's quantizer gives to each tensor; written by `make types`, compared by a test."
_LIMIT_S = 600.0  # seconds for all quantizations of a shape, a few on an idle machine
LOG_LINE = re.compile(r"\] +(\S+) +- \[.*?\], type = +(\w+), size = .*?MiB(?: -> .*?\((\w+)\))?")


def generate(shapes: Iterable[Shape]) -> TypeTable:
    """Ask for every mix of every shape; PhibenchError when llama-cpp-python is missing or answers in part."""
    file_types = wanted()
    by_key = {plan_gguf.mix_key(shape): shape for shape in shapes}
    mixes: dict[str, dict[str, Mix]] = {}
    for key, shape in sorted(by_key.items()):
        answers = ask(shape, file_types)
        mixes[key] = {name: compact(types) for name, types in answers.items()}
    return TypeTable(
        about=ABOUT,
        llama_cpp=LLAMA_CPP_COMMIT,
        llama_cpp_python=quantizer.version(),
        quantizations=file_types,
        mixes=mixes,
    )


def wanted() -> dict[str, FileType]:
    """The catalog's rows, by llama.cpp's numbers; i-quants (and Q2_K_S) are published with an importance matrix.

    Raises PhibenchError (exit 1) for a row that the installed llama.cpp does not have, or has by another number.
    """
    known = offered()
    rows = sorted(catalog.quantizations("gguf"), key=lambda row: row.ftype or 0)
    for row in rows:
        if row.ftype is None or known.get(row.id) != row.ftype:
            raise PhibenchError(f"llama.cpp has {row.id} as {known.get(row.id)}, the catalog as {row.ftype}", FAILED)
    return {row.id: FileType(row.ftype or 0, row.imatrix or row.id.startswith("IQ")) for row in rows}


def offered() -> dict[str, int]:
    """Quantizations of the installed llama.cpp by name."""
    prefix, library = "LLAMA_FTYPE_MOSTLY_", quantizer.llama_cpp()
    return {name.removeprefix(prefix): getattr(library, name) for name in dir(library) if name.startswith(prefix)}


def ask(shape: Shape, quantizations: dict[str, FileType]) -> dict[str, dict[str, str]]:
    """Quantization -> tensor name -> type, from a child process (the quantizer aborts on what it dislikes)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.gguf"
        write_twin(shape, path)
        command = [sys.executable, "-P", "-m", __spec__.name, str(path)]
        try:
            asked = msgspec.json.encode(quantizations)
            child = subprocess.run(command, input=asked, capture_output=True, check=False, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            limit = units.duration(_LIMIT_S)
            raise PhibenchError(
                f"llama.cpp's quantizer gave no answer in {limit}, when asked about {plan_gguf.mix_key(shape)}", FAILED
            ) from None
    if child.returncode or not child.stdout:
        end = ends.end(child.returncode, child.stderr.decode("utf-8", "replace"))
        raise PhibenchError(f"llama.cpp's quantizer {end}, when asked about {plan_gguf.mix_key(shape)}", FAILED)
    said = json.loads(child.stdout)
    if "reason" in said:
        raise PhibenchError(said["reason"], FAILED)
    return _complete(shape, said)


def ask_here(shape: Shape, quantizations: dict[str, FileType]) -> dict[str, dict[str, str]]:
    """The same from this process, for one that may die: a child that opens llama.cpp anyway."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.gguf"
        write_twin(shape, path)
        return _complete(shape, dry_runs(path, quantizations))


def _complete(shape: Shape, answers: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    expected = {name for name, _ in gguf_layout.weight_shapes(shape, shape.layers)}
    for name, found in answers.items():
        if found.keys() != expected or not set(found.values()) <= tensor_types.TYPES.keys():
            raise PhibenchError(
                f"cannot read what llama.cpp's quantizer says about {name}: its log has changed", FAILED
            )
    return answers


def write_twin(shape: Shape, path: Path) -> None:
    """An F16 file of true widths: the header, then nothing up to its full length."""
    tensors = [
        tensor_types.tensor(name, dims, "F16" if gguf_layout.is_quantizable(name, dims) else "F32")
        for name, dims in gguf_layout.weight_shapes(shape, shape.layers)
    ]
    keys = {"general.architecture": shape.architecture, "general.file_type": 1}
    header = tensor_types.header(keys | gguf_layout.key_values(shape, shape.layers), tensors)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + sum(tensor_types.padded(tensor.bytes) for tensor in tensors))


def dry_runs(path: Path, wanted: dict[str, FileType]) -> dict[str, dict[str, str]]:
    """Quantization -> tensor name -> type, read from the quantizer's log. In this process."""
    library = quantizer.llama_cpp()
    lines: list[str] = []

    def keep(_level: int, text: bytes, _data: Any) -> None:
        lines.append(text.decode(errors="replace"))

    callback = library.llama_log_callback(keep)  # C holds it: it must outlive every call below
    library.llama_log_set(callback, ctypes.c_void_p(0))
    one = (ctypes.c_float * 1)(1.0)  # a dry run only looks whether there is a matrix
    entries = (library.llama_model_imatrix_data * 2)()
    entries[0].name, entries[0].data, entries[0].size = b"any", one, 1
    found = {}
    try:
        for name, file_type in wanted.items():
            params = library.llama_model_quantize_default_params()
            params.ftype, params.dry_run, params.nthread = file_type.ftype, True, 1
            if file_type.imatrix:
                params.imatrix = entries
            lines.clear()
            if library.llama_model_quantize(str(path).encode(), b"unused", params):
                last = "".join(lines).strip().splitlines()[-1]
                raise PhibenchError(f"llama.cpp's quantizer on {name}: {last}", FAILED)
            found[name] = {tensor: (new or old).upper() for tensor, old, new in LOG_LINE.findall("".join(lines))}
    finally:
        library.llama_log_set(library.llama_log_callback(), ctypes.c_void_p(0))  # ours ends with this function
    return found


def compact(types: dict[str, str]) -> Mix:
    """The base type and the roles that differ from it."""
    roles: dict[str, dict[int, str]] = defaultdict(dict)
    for name, kind in types.items():
        if kind != "F32":
            role, layer = plan_gguf.role_of(name)
            roles[role][layer or 0] = kind
    weights = [kind for layers in roles.values() for kind in layers.values()]
    base = max(sorted(set(weights)), key=weights.count)
    mix: Mix = {"*": base}
    for role, layers in sorted(roles.items()):
        kinds = sorted(set(layers.values()) - {base})
        if len(set(layers.values())) == 1:
            mix |= {role: kinds[0]} if kinds else {}
        else:
            mix[role] = {kind: ranges([i for i, found in layers.items() if found == kind]) for kind in kinds}
    return mix


def ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2,5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def encode(table: TypeTable) -> bytes:
    """JSON with one line per quantization: the file is read in diffs."""
    lines = []
    for key, value in msgspec.to_builtins(table).items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(name)}: {_nested(item)}" for name, item in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _nested(value: dict[str, Any]) -> str:
    if "*" in value or "ftype" in value:
        return json.dumps(value)
    return "{\n" + ",\n".join(f"   {json.dumps(name)}: {json.dumps(item)}" for name, item in value.items()) + "\n  }"


def main(arguments: Sequence[str]) -> None:
    if arguments:  # the child of ask()
        asked = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, FileType])
        try:
            said: dict[str, Any] = {**dry_runs(Path(arguments[0]), asked)}
        except PhibenchError as error:
            said = {"reason": str(error)}
        json.dump(said, sys.stdout)
        return
    shapes = [
        variant.shape for variant in catalog.variants() if variant.shape and gguf_layout.is_loadable(variant.shape)
    ]
    plan_gguf.TYPES_FILE.write_bytes(encode(generate(shapes)))


if __name__ == "__main__":
    main(sys.argv[1:])
