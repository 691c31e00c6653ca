"""ONNX: every tensor of variant x quantization as the model builder of onnxruntime-genai exports it for CPU.

Checked against ``onnxruntime_genai.models.builder`` 0.18 in ``tests/synth/test_synth_onnx.py``: names, shapes and
types of the initializers, and ``genai_config.json``.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import msgspec

from phibench import catalog
from phibench.catalog.plans import hf_config
from phibench.catalog.plans.base import NoFiles, NoFilesError, Plan, check_layers
from phibench.catalog.tensor_types import Tensor
from phibench.core.errors import unknown
from phibench.core.nouns import Shape, Variant

BLOCK = 32  # weights that share a scale
BITS = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}
_LEVELS = {"int4": 4, "int8": 4}  # accuracy level of MatMulNBits (4: activations in int8) where a row names none
ABOUT = "phibench.json"  # what the folder is, for readers without onnx
PADDING_BYTES = 1 << 14  # at least that much: shorter ones would not reach every length
# model.onnx is padded to this many bytes, so that a plan knows its size without making the graph. At true shapes the
# graph takes 2.0 to 16.6 kB and 4.0 to 5.8 kB a layer, 16.7 kB where keys and values are repeated.
_GRAPH_BYTES, _LAYER_BYTES = (20 << 10) + PADDING_BYTES, {False: 6 << 10, True: 18 << 10}
_SEARCH = {  # of genai_config.json: one answer, greedily
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": True,
    "length_penalty": 1.0,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
}


def plan(variant: Variant, quantization: str, layers: int | None = None, *, half: bool = False) -> Plan:
    """The plan of the whole model, or of a slice of its first ``layers``. ``half``: as packages for GPUs are, with
    activations, KV cache and embedding in fp16; phibench writes none.

    Raises PhibenchError (exit 2) when the variant has no such form or the quantization is not an ONNX one.
    """
    if why := objection(variant):
        raise NoFilesError(why)
    if quantization not in quantizations():
        raise unknown("ONNX quantization", quantization, quantizations(), "see phibench models")
    shape = variant.shape
    assert shape is not None
    count = check_layers(variant, layers)
    real = "fp16" if half else real_type(quantization)
    tensors = _tensors(_widths(shape), quantization, count, real)
    known = msgspec.structs.asdict(shape)
    wanted = Plan(
        variant=variant.id,
        format="onnx",
        quantization=quantization,
        layers=count,
        of_layers=shape.layers,
        tensors=tensors,
        file_bytes=0,
        embedding=tensors[0].name if tensors[0].name == "model.embed_tokens.weight" else "lm_head.MatMul.weight",
        head="lm_head.MatMul.weight",
        tokenizer_bytes=variant.tokenizer_bytes or 0,
        metadata={key: value for key, value in known.items() if value is not None},
        facts={
            "kv_type": real,
            "kv_buffer": "shared"
            if half or packs_heads(quantization)
            else "grown",  # past and present: one buffer or two
            "logits": "all",
            "exporter": "phibench",
        },
    )
    size = graph_bytes(wanted) + data_bytes(wanted) + len(genai_config(wanted)) + len(about(wanted))
    return msgspec.structs.replace(wanted, file_bytes=size)


@functools.cache
def quantizations() -> dict[str, tuple[str, int]]:
    """The catalog's rows: type of the matrices, and the accuracy level of their products."""
    found = {}
    for row in catalog.quantizations("onnx"):
        kind = row.matrices or row.id
        level = _LEVELS.get(kind, 0) if row.accuracy_level is None else row.accuracy_level
        found[row.id] = (kind, level)
    return found


def objection(variant: Variant) -> NoFiles | None:
    """Why phibench writes no ONNX files of the variant."""
    shape = variant.shape
    if shape is None:
        return NoFiles(reason=f"{variant.id} has no ONNX form that phibench writes ({variant.shape_source})")
    if shape.experts:
        return NoFiles(
            reason=f"{variant.id} is a mixture of experts, "
            "which the builder of onnxruntime-genai exports for CUDA alone",
            remedy="measure it with -b {backend}",
            instead="gguf",
        )
    if variant.modalities_in != ("text",):
        return NoFiles(
            reason=f"{variant.id} is several ONNX graphs (one per modality), of which phibench writes none",
            remedy="measure its text part with -b {backend}",
            instead="gguf",
        )
    return None


def shape_of(plan: Plan) -> Shape:
    """The shape that the plan was made of."""
    return msgspec.convert(plan.metadata, Shape)


def real_type(quantization: str) -> str:
    """Type of activations, KV cache, norms and scales."""
    return "fp16" if quantization == "fp16" else "fp32"


def packs_heads(quantization: str) -> bool:
    """Whether attention is GroupQueryAttention on packed projections: the builder has it for fp32 alone on CPU."""
    return real_type(quantization) == "fp32"


def data_bytes(plan: Plan) -> int:
    """Of ``model.onnx.data``: every tensor but the caches of LongRoPE, which are constants of the graph."""
    return sum(tensor.bytes for tensor in plan.tensors if not is_branch(tensor))


def graph_bytes(plan: Plan) -> int:
    """Of ``model.onnx``, its padding included."""
    repeats = not packs_heads(plan.quantization) and plan.metadata["heads"] != plan.metadata["kv_heads"]
    branches = sum(tensor.bytes for tensor in plan.tensors if is_branch(tensor))
    return _GRAPH_BYTES + plan.layers * _LAYER_BYTES[repeats] + branches


def is_branch(tensor: Tensor) -> bool:
    """A cosine or sine table for short or for long contexts."""
    return tensor.name.endswith(("_cache_small", "_cache_large"))


def about(plan: Plan, synthetic: bool = True) -> bytes:
    """Content of ``phibench.json``."""
    told = {
        "synthetic": synthetic,
        "variant": plan.variant,
        "quantization": plan.quantization,
        "layers": plan.layers,
        "of_layers": plan.of_layers,
        "facts": plan.facts,
    }
    return json.dumps(told, indent=4).encode()


def genai_config(plan: Plan) -> bytes:
    """Content of ``genai_config.json``: what onnxruntime-genai needs to run the graph on token ids."""
    shape = shape_of(plan)
    tokens = hf_config.config(shape, plan.layers)
    model = {
        "bos_token_id": tokens["bos_token_id"],
        "context_length": shape.context,
        "decoder": _decoder(plan, shape),
        "eos_token_id": tokens["eos_token_id"],
        "pad_token_id": tokens["pad_token_id"],
        "type": tokens["model_type"],
        "vocab_size": shape.vocab,
    }
    lengths = {"max_length": shape.context, "past_present_share_buffer": packs_heads(plan.quantization)}
    search = dict(sorted((_SEARCH | lengths).items()))
    return json.dumps({"model": model, "search": search}, indent=4).encode()


def _decoder(plan: Plan, shape: Shape) -> dict[str, Any]:
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    inputs |= {} if packs_heads(plan.quantization) else {"position_ids": "position_ids"}
    decoder: dict[str, Any] = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_dim,
        "hidden_size": shape.hidden,
        "inputs": inputs | {f"past_{one}_names": f"past_key_values.%d.{one}" for one in ("key", "value")},
        "outputs": {"logits": "logits"} | {f"present_{one}_names": f"present.%d.{one}" for one in ("key", "value")},
        "num_attention_heads": shape.heads,
        "num_hidden_layers": plan.layers,
        "num_key_value_heads": shape.kv_heads,
    }
    if shape.sliding_window is not None:  # told, but no layer slides
        decoder["sliding_window"] = {
            "window_size": shape.sliding_window,
            "slide_key_value_cache": False,
            "slide_inputs": False,
            "layers": [],
            "cache_slack": 0,
        }
    return decoder


def _widths(shape: Shape) -> Shape:
    """Without what tensors do not show, so that variants of one shape share their plan."""
    return msgspec.structs.replace(shape, rope_theta=0.0, sliding_window=None, norm_eps=0.0)


@functools.lru_cache(maxsize=1024)
def _tensors(shape: Shape, quantization: str, layers: int, real: str) -> tuple[Tensor, ...]:
    kind = quantizations()[quantization][0]
    found = []
    # one matrix serves both, but the builder's int8 embedding cannot be looked up
    if not shape.tied or kind == "int8":
        found.append(_tensor("model.embed_tokens.weight", (shape.hidden, shape.vocab), real))
    for layer in range(layers):
        found += _layer(shape, f"model.layers.{layer}", kind, real, packs_heads(quantization))
    found += _norm(shape, f"model.layers.{layers}.final_norm_layernorm", real)
    found += _matrix(shape, "lm_head", (shape.hidden, shape.vocab), kind, real)
    half, original = shape.rope_dims // 2, shape.original_context or shape.context
    tables = {"_small": original, "_large": shape.context} if shape.longrope else {"": shape.context}
    for suffix, rows in tables.items():
        found += [_tensor(f"{name}_cache{suffix}", (half, rows), real) for name in ("cos", "sin")]
    return tuple(found)


def _layer(shape: Shape, name: str, kind: str, real: str, packed: bool) -> list[Tensor]:
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found = _norm(shape, f"{name}.input_layernorm", real)
    widths = {"qkv_proj": query + 2 * key} if packed else {"q_proj": query, "k_proj": key, "v_proj": key}
    for projection, width in widths.items():
        found += _matrix(shape, f"{name}.attn.{projection}", (shape.hidden, width), kind, real)
    found += _matrix(shape, f"{name}.attn.o_proj", (query, shape.hidden), kind, real)
    if shape.architecture == "phi2":
        found += _matrix(shape, f"{name}.mlp.fc1", (shape.hidden, shape.ffn), kind, real)
        return found + _matrix(shape, f"{name}.mlp.fc2", (shape.ffn, shape.hidden), kind, real)
    found += _norm(shape, f"{name}.post_attention_layernorm", real)
    for projection in ("gate_proj", "up_proj"):
        found += _matrix(shape, f"{name}.mlp.{projection}", (shape.hidden, shape.ffn), kind, real)
    return found + _matrix(shape, f"{name}.mlp.down_proj", (shape.ffn, shape.hidden), kind, real)


def _matrix(shape: Shape, name: str, dims: tuple[int, int], kind: str, real: str) -> list[Tensor]:
    found = [_tensor(f"{name}.MatMul.weight", dims, kind)]
    return [*found, _tensor(f"{name}.Add.bias", dims[1:], real)] if shape.architecture == "phi2" else found


def _norm(shape: Shape, name: str, real: str) -> list[Tensor]:
    parts = ("weight", "bias") if shape.architecture == "phi2" else ("weight",)
    return [_tensor(f"{name}.{part}", (shape.hidden,), real) for part in parts]


def _tensor(name: str, dims: tuple[int, ...], kind: str) -> Tensor:
    if kind in ("int4", "int8"):  # per block of a row: its weights, and a scale in fp32; no zero points
        size = math.prod(dims[1:]) * -(-dims[0] // BLOCK) * (BLOCK * BITS[kind] // 8 + 4)
    else:
        size = math.prod(dims) * BITS[kind] // 8
    return Tensor(name=name, shape=dims, type=kind, bytes=size)
