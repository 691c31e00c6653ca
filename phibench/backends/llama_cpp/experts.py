"""Experts that stay on the host: llama.cpp's ``--n-cpu-moe``, which its C interface knows as overrides by name."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from phibench.core.errors import PhibenchError

_PATTERN = r"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # common.h: llm_ffn_exps_block_regex


class _Override(ctypes.Structure):
    """``llama_model_tensor_buft_override``: a regular expression and the buffer type of what it names."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def overrides(layers: int) -> Any:
    """For ``llama_model_params.tensor_buft_overrides``: the experts of so many layers in the host's memory.

    Must live as long as the model. Raises PhibenchError where this build does not name its buffer types.
    """
    host = _host_buffer_type()
    named = [_Override(_PATTERN.format(layer=layer).encode(), host) for layer in range(layers)]
    return (_Override * (layers + 1))(*named, _Override(None, None))  # ends with an empty one


def _host_buffer_type() -> int:
    import llama_cpp

    folder = Path(str(llama_cpp.__file__)).parent / "lib"
    for path in sorted(folder.glob("*ggml-base*")):
        try:
            ask = ctypes.CDLL(str(path)).ggml_backend_cpu_buffer_type
        except (OSError, AttributeError):
            continue
        ask.restype = ctypes.c_void_p
        if found := ask():
            return int(found)
    raise PhibenchError("this build of llama.cpp does not name its buffer types: leave out n_cpu_moe", 1)
