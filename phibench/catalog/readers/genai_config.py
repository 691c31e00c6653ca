"""genai_config.json of a folder from anywhere: what onnxruntime-genai obeys in it, and what phibench lets through.

The engine loads the library that ``custom_ops_library`` names, writes where ``enable_profiling`` says, hands any other
key to ONNX Runtime, and merges keys that come twice. So what it gets to read has known keys only, each once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phibench.catalog.readers import untrusted
from phibench.core import files
from phibench.core.errors import PhibenchError

MAX_BYTES = 1 << 20
# What Microsoft's builder writes for any provider (onnxruntime-genai, models/builders/base.py), and plain tuning
SESSION = frozenset({
    "log_id", "log_severity_level", "log_verbosity_level", "provider_options", "graph_optimization_level",
    "intra_op_num_threads", "inter_op_num_threads", "enable_cpu_mem_arena", "enable_mem_pattern",
    "session.intra_op.allow_spinning", "session.inter_op.allow_spinning", "session.disable_prepacking",
    "session.set_denormal_as_zero", "session.use_device_allocator_for_initializers", "session.use_env_allocators",
    "ep.cuda.fpa_intb_gemm", "optimization.disable_specified_optimizers",
})  # fmt: skip
RUN = frozenset({"memory.enable_memory_arena_shrinkage"})
PROVIDER = frozenset({
    "enable_cuda_graph", "enable_skip_layer_norm_strict_mode", "use_tf32", "device_type", "backend_type",
    "htp_performance_mode", "htp_graph_finalization_optimization_mode", "soc_model", "enable_causallm",
    "enableGraphCapture", "validationMode", "multiRotaryCacheConcatOffset", "multi_rotary_cache_concat_offset",
    "enable_graph_capture", "tunable_op_enable", "tunable_op_tuning_enable",
})  # fmt: skip
_OPTIONS = {"session_options": SESSION, "run_options": RUN}
_PLAIN = re.compile(r"[\w.:;+-]{0,60}", re.ASCII)  # of a value: no path, no list
_NAMES_FILE = re.compile(r"file|dir|path|library")


def read(path: Path) -> dict[str, Any]:
    """The content of ``genai_config.json`` at ``path``, without anything that reaches out of its folder.

    Raises PhibenchError (exit 2) for what is no JSON object or asks for more; OSError for what cannot be read.
    """
    files.check_readable(path, MAX_BYTES)
    found = untrusted.parse_json(path.read_bytes(), path)
    parts = sorted(key for key, value in untrusted.part(found, "model").items() if isinstance(value, dict))
    if strange := [key for key in parts if key != "decoder"]:
        raise PhibenchError(f"{path} has a part {strange[0][:50]!r}; phibench runs a model that is its decoder alone")
    for key, value in _members(found):
        if key in _OPTIONS:
            _check(value, _OPTIONS[key], f"{path} has {key}")
        elif isinstance(value, str) and value and _NAMES_FILE.search(key):
            untrusted.inside(path.parent, value)
    return found


def _members(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object at any depth, and its value."""
    left = [found]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield from one.items()
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def _check(options: Any, known: frozenset[str], where: str) -> None:
    """Raises PhibenchError unless these are known options with plain values."""
    if not isinstance(options, dict):
        raise PhibenchError(f"{where} that is no object")
    for key, value in options.items():
        if key not in known:
            raise PhibenchError(f"{where} {key[:60]!r}, which could run or write anything; phibench does not open it")
        if key == "provider_options":
            for _, of_one in _providers(value, where):
                _check(of_one, PROVIDER, f"{where} of a provider,")
        elif not _is_plain(value):
            raise PhibenchError(f"{where} {key!r} with a value that is no number, no word and no switch")


def _providers(found: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PhibenchError(f"{where} 'provider_options' that are no list of objects")
    for one in found:
        yield from one.items()


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
