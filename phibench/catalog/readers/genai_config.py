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
# What Microsoft's builder writes for any provider (onnxruntime-genai, models/builders/base.py), and what only tunes:
# keys of onnxruntime_session_options_config_keys.h that name no file, and options of the providers as their pages
# under onnxruntime.ai/docs/execution-providers list them. Left out is what loads a library, writes or reads a file
# (ep.context_*, *_path, dump_*, load_config), and what is an address in memory (user_compute_stream, webgpuInstance).
SESSION = frozenset({
    "log_id", "log_severity_level", "log_verbosity_level", "provider_options", "graph_optimization_level",
    "intra_op_num_threads", "inter_op_num_threads", "enable_cpu_mem_arena", "enable_mem_pattern", "use_env_allocators",
    "execution_mode", "session.use_env_allocators", "session.use_device_allocator_for_initializers",
    "session.intra_op.allow_spinning", "session.inter_op.allow_spinning", "session.force_spinning_stop",
    "session.intra_op_thread_affinities", "session.dynamic_block_base", "session.disable_prepacking",
    "session.set_denormal_as_zero", "session.enable_quant_qdq", "session.disable_quant_qdq",
    "session.disable_double_qdq_remover", "session.enable_quant_qdq_cleanup", "session.qdqisint8allowed",
    "session.disable_aot_function_inlining", "session.disable_cpu_ep_fallback", "session.x64quantprecision",
    "session.strict_shape_type_inference", "session.allow_released_opsets_only", "session.load_model_format",
    "session.graph_optimizations_loop_level", "optimization.enable_gelu_approximation",
    "optimization.enable_cast_chain_elimination", "optimization.disable_specified_optimizers",
    "mlas.enable_gemm_fastmath_arm64_bfloat16", "mlas.disable_kleidiai", "ep.cuda.fpa_intb_gemm",
    "ep.dml.disable_graph_fusion", "ep.share_ep_contexts", "ep.stop_share_ep_contexts",
})  # fmt: skip
RUN = frozenset({"memory.enable_memory_arena_shrinkage", "disable_synchronize_execution_providers", "gpu_graph_id"})
PROVIDER = frozenset({
    # CUDA, ROCm
    "device_id", "gpu_mem_limit", "arena_extend_strategy", "max_power_of_two_extend_bytes", "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace", "cudnn_conv1d_pad_to_nc1d", "do_copy_in_default_stream", "enable_cuda_graph",
    "enable_skip_layer_norm_strict_mode", "use_tf32", "use_ep_level_unified_stream", "prefer_nhwc", "sdpa_kernel",
    "fuse_conv_bias", "tunable_op_enable", "tunable_op_tuning_enable", "tunable_op_max_tuning_duration_ms",
    # TensorRT for RTX
    "nv_max_workspace_size", "nv_max_shared_mem_size", "nv_detailed_build_log", "nv_cuda_graph_enable",
    "nv_multi_profile_enable", "nv_use_external_data_initializer", "multiRotaryCacheConcatOffset",
    "multi_rotary_cache_concat_offset", "nv_multi_rotary_cache_concat_offset",
    # DirectML
    "performance_preference", "device_filter", "disable_metacommands", "enable_graph_capture",
    "enable_graph_serialization",
    # OpenVINO
    "device_type", "precision", "num_of_threads", "num_streams", "model_priority", "enable_opencl_throttling",
    "enable_qdq_optimizer", "disable_dynamic_shapes", "enable_causallm",
    # QNN
    "backend_type", "htp_performance_mode", "htp_graph_finalization_optimization_mode", "htp_arch", "soc_model",
    "vtcm_mb", "rpc_control_latency", "qnn_context_priority", "profiling_level", "enable_htp_fp16_precision",
    "enable_htp_spill_fill_buffer", "enable_htp_shared_memory_allocator", "enable_htp_weight_sharing",
    "offload_graph_io_quantization", "extended_udma", "skip_qnn_version_check",
    # WebGPU
    "enableGraphCapture", "validationMode", "preferredLayout", "deviceId", "enableInt64", "powerPreference",
    "storageBufferCacheMode", "uniformBufferCacheMode", "queryResolveBufferCacheMode", "defaultBufferCacheMode",
    # Core ML, XNNPACK
    "ModelFormat", "MLComputeUnits", "RequireStaticInputShapes", "EnableOnSubgraphs", "SpecializationStrategy",
    "AllowLowPrecisionAccumulationOnGPU", "intra_op_num_threads",
})  # fmt: skip
_DEVICE = frozenset({"hardware_device_type", "hardware_device_id", "hardware_vendor_id"})
_OBJECTS = {"device_filtering_options": _DEVICE}  # options that are objects, and what these may say
# Folders that a provider writes compiled models to; a relative one is made in the model's (onnxruntime-genai 1900)
_CACHES = {"openvino": frozenset({"cache_dir"})}
_REMEDY = "take the option out of it"
# keys that packages for an NPU cannot do without: amd/RyzenAI-SW 265 and 371, microsoft/foundry-dev-tools 204
_OF_NPU = re.compile(r"custom_ops_library|backend_path|custom_allocator|external_data_file|config_entries|hybrid_\w+")
_FOR_CPU = "a package for an NPU asks for it: take the one for the CPU or a GPU"
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
        raise PhibenchError(
            f"{path} has a part {strange[0][:50]!r}; phibench runs a model that is its decoder alone: "
            "take the package of a text model"
        )
    for key, value in _members(found):
        if key in _OPTIONS:
            _check(value, _OPTIONS[key], f"{path} has {key}", path.parent)
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


def _check(options: Any, known: frozenset[str], where: str, folder: Path) -> None:
    """Raises PhibenchError unless these are known options with plain values."""
    if not isinstance(options, dict):
        raise PhibenchError(f"{where} that is not an object: {_REMEDY}")
    for key, value in options.items():
        if key == "provider_options" and key in known:
            for name, of_one in _providers(value, where):
                _check_provider(name, of_one, f"{where} of a provider,", folder)
        elif key not in known:
            remedy = _FOR_CPU if _OF_NPU.fullmatch(key) else _REMEDY
            raise PhibenchError(
                f"{where} {key[:60]!r}, which could run or write anything, so phibench does not open it: {remedy}"
            )
        elif not _is_plain(value):
            raise PhibenchError(f"{where} {key!r} with a value that is not a number, a word or a switch: {_REMEDY}")


def _check_provider(name: str, options: Any, where: str, folder: Path) -> None:
    """As :func:`_check`; a folder for compiled models may only lie inside the model's own."""
    if not isinstance(options, dict):
        raise PhibenchError(f"{where} that is not an object: {_REMEDY}")
    left = dict(options)
    for key in _CACHES.get(name.lower().removesuffix("executionprovider"), frozenset()) & left.keys():
        value = left.pop(key)
        made = untrusted.inside(folder, value if isinstance(value, str) else "")
        if not made.resolve().is_relative_to(folder.resolve()):  # through a link
            raise untrusted.outside(folder, str(value))
    for key in _OBJECTS.keys() & left.keys():
        _check(left.pop(key), _OBJECTS[key], f"{where} {key},", folder)
    _check(left, PROVIDER, where, folder)


def _providers(found: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PhibenchError(f"{where} 'provider_options' that are not a list of objects: {_REMEDY}")
    for one in found:
        yield from one.items()


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    return isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
