"""What synth needs of llama-cpp-python: the module (to ask the quantizer) and ggml's quantizing function alone."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phibench.catalog.tensor_types import TYPES
from phibench.core import extras
from phibench.core.errors import FAILED, PhibenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEVER_WEIGHTS = ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64")  # ggml_quantize_chunk aborts on these


def llama_cpp() -> Any:
    """The package; PhibenchError (exit 1) with the remedy when it is missing or cannot be loaded."""
    try:
        return importlib.import_module("llama_cpp")
    except ModuleNotFoundError:
        raise _missing() from None
    except (OSError, RuntimeError) as error:
        raise PhibenchError(f"llama-cpp-python cannot be loaded: {error}", FAILED) from None


def _missing() -> PhibenchError:
    return PhibenchError(f"llama-cpp-python is not installed: {extras.line('llama-cpp')}", FAILED)


def version() -> str:
    return importlib.metadata.version("llama-cpp-python")


@functools.cache
def ggml_base() -> ctypes.CDLL:
    """The library that quantizes, without importing the package (which takes most of a second)."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise _missing()
    # llama_cpp.py looks in the same two places
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(spec.origin).parent / "lib")
    names = {"win32": ["ggml-base.dll", "libggml-base.dll"], "darwin": ["libggml-base.dylib", "libggml-base.so"]}
    for name in names.get(sys.platform, ["libggml-base.so"]):
        if (folder / name).exists():
            break
    else:
        raise PhibenchError(f"llama-cpp-python has no ggml-base library in {folder}; reinstall it", FAILED)
    try:
        library = ctypes.CDLL(str(folder / name))
    except OSError as error:
        raise PhibenchError(f"llama-cpp-python cannot be loaded: {error}", FAILED) from None
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    return library


def quantize(type_name: str, values: NDArray[np.float32]) -> bytes:
    """The blocks of a GGML type, one row per block; a type that wants an importance matrix gets a uniform one."""
    import numpy as np

    if type_name in _NEVER_WEIGHTS:
        raise PhibenchError(f"no synthetic weights can be made of type {type_name}", FAILED)
    library = ggml_base()
    number, block, block_bytes = TYPES[type_name]
    rows = len(values) // block
    values = np.ascontiguousarray(values, np.float32)
    weights = np.ones(block, np.float32) if library.ggml_quantize_requires_imatrix(number) else None
    found = ctypes.create_string_buffer(rows * block_bytes)
    matrix = None if weights is None else weights.ctypes.data
    written = library.ggml_quantize_chunk(number, values.ctypes.data, found, 0, rows, block, matrix)
    if written != len(found):
        raise PhibenchError(f"ggml wrote {written} bytes of {type_name}, not {len(found)}: update phibench", FAILED)
    return found.raw
