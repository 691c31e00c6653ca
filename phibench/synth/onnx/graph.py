"""The graph that the model builder of onnxruntime-genai 0.18 exports for CPU: same operators, same order.

Source of what is emitted: onnxruntime_genai/models/builders/base.py and phi.py;
``tests/synth/test_synth_onnx.py`` compares with what the installed builder makes of the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.plans.base import Plan
from phibench.core.nouns import Shape
from phibench.synth.onnx import attention
from phibench.synth.onnx.nodes import Nodes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

    Table = Callable[[str], NDArray[np.generic]]  # "cos_cache_small": rows by position

_IR_VERSION, _OPSET = 10, 22
_PHI2_EPSILON = 1e-6  # the builder does not read layer_norm_eps, which is 1e-5
_OUTPUT = "{}/output_0"
_RESIDUAL = "{}/output_3"  # SkipLayerNormalization hands on the sum, too


def model(plan: Plan, table: Table) -> ModelProto:
    """The model without its weights: initializers are the writer's.

    ``table`` gives the constants of LongRoPE, which the builder keeps in the graph.
    """
    from onnx import helper

    shape = plan_onnx.shape_of(plan)
    real = "float32" if plan_onnx.real_type(plan.quantization) == "fp32" else "float16"
    nodes = Nodes(real)
    total = _branches(nodes, shape, table) if shape.longrope else None
    if plan_onnx.packs_heads(plan.quantization):
        mask: tuple[str, ...] = attention.lengths(nodes, total)
    else:
        mask = attention.mask(nodes, shape, total)
    hidden = skip = _embedding(nodes, plan, shape)
    for layer in range(plan.layers):
        make = _parallel_layer if shape.architecture == "phi2" else _layer
        hidden, skip = make(nodes, plan, shape, layer, hidden, skip, mask)
    last = f"/model/layers.{plan.layers}/final_norm_layernorm"
    normed = _norm(nodes, shape, last, (skip, hidden), keep=False)
    _head(nodes, plan, normed)
    inputs, outputs = _values(plan, shape)
    graph = helper.make_graph(nodes.found, "main_graph", inputs, outputs)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=opsets, producer_name="phibench")


def _branches(nodes: Nodes, shape: Shape, table: Table) -> str:
    """LongRoPE: the tables for long contexts as soon as there are more tokens than the original context."""
    from onnx import helper, numpy_helper

    def branch(size: str) -> GraphProto:
        made: list[NodeProto] = []
        told: list[ValueInfoProto] = []
        for cache in ("cos_cache", "sin_cache"):
            values, name = numpy_helper.from_array(table(f"{cache}_{size}")), f"{cache}_{size}"
            made.append(helper.make_node("Constant", [], [name], name=f"/{size}/{cache}/Constant", value=values))
            told.append(helper.make_tensor_value_info(name, values.data_type, values.dims))
        return helper.make_graph(made, f"{size}_rope_caches_graph", [], told)

    limit = nodes.integers(shape.original_context or shape.context)
    name = "/model/attn_mask_reformat/attn_mask_subgraph"
    number = ""
    if nodes.real == "float16":  # there the builder has its constant first, and other names
        nodes.integers(1)
        number = "_2"
    total = nodes.add("Shape", f"{name}/Shape{number}", "attention_mask")
    total = nodes.add("Gather", f"{name}/Gather{number}", total, nodes.integers(1), axis=0)
    longer = nodes.add("Greater", "/model/rope_caches_subgraph/Greater", total, limit)
    branches = {"then_branch": branch("large"), "else_branch": branch("small")}
    nodes.add("If", "/model/rope_caches_subgraph/If", longer, outputs=("cos_cache", "sin_cache"), **branches)
    return total


def _embedding(nodes: Nodes, plan: Plan, shape: Shape) -> str:
    name, head = "/model/embed_tokens", "lm_head.MatMul.weight"
    if not plan.tied:
        return nodes.add("Gather", f"{name}/Gather", plan.embedding, "input_ids")
    if plan_onnx.quantizations()[plan.quantization][0] == "int4":
        rows = nodes.integers([shape.vocab, shape.hidden // 2])
        packed = nodes.add("Reshape", f"{name}/Reshape", f"{head}_Q4", rows)
        return nodes.add(
            "GatherBlockQuantized",
            f"{name}/GatherBlockQuantized",
            *(packed, "input_ids", f"{head}_scales"),
            bits=4,
            block_size=plan_onnx.BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )
    rows = nodes.add("Transpose", f"{name}/Transpose", head, perm=[1, 0])
    return nodes.add("Gather", f"{name}/Gather", rows, "input_ids")


def _layer(
    nodes: Nodes, plan: Plan, shape: Shape, layer: int, hidden: str, skip: str, mask: tuple[str, ...]
) -> tuple[str, str]:
    """A Phi-3 layer; what it adds, and the sum so far, which the next norm adds up."""
    name = f"/model/layers.{layer}"
    normed = _norm(nodes, shape, f"{name}/input_layernorm", (skip, hidden) if layer else (hidden,))
    skip = _RESIDUAL.format(f"{name}/input_layernorm") if layer else hidden
    attended = _attention(nodes, plan, shape, layer, normed, mask)
    normed = _norm(nodes, shape, f"{name}/post_attention_layernorm", (skip, attended))
    gate = _linear(nodes, plan, f"{name}/mlp/gate_proj", normed)
    up = _linear(nodes, plan, f"{name}/mlp/up_proj", normed)
    sigmoid = nodes.add("Sigmoid", f"{name}/mlp/act_fn/Sigmoid", gate)
    active = nodes.add("Mul", f"{name}/mlp/act_fn/Mul", gate, sigmoid)
    active = nodes.add("Mul", f"{name}/mlp/Mul", active, up)
    down = _linear(nodes, plan, f"{name}/mlp/down_proj", active)
    return down, _RESIDUAL.format(f"{name}/post_attention_layernorm")


def _parallel_layer(
    nodes: Nodes, plan: Plan, shape: Shape, layer: int, hidden: str, skip: str, mask: tuple[str, ...]
) -> tuple[str, str]:
    """A Phi-2 layer: attention and MLP see the same norm."""
    name = f"/model/layers.{layer}"
    normed = _norm(nodes, shape, f"{name}/input_layernorm", (skip, hidden) if layer else (hidden,))
    skip = _RESIDUAL.format(f"{name}/input_layernorm") if layer else hidden
    attended = _attention(nodes, plan, shape, layer, normed, mask)
    active = _linear(nodes, plan, f"{name}/mlp/fc1", normed)
    active = nodes.add("Gelu", f"{name}/mlp/act_fn/FastGelu", active, approximate="tanh")
    down = _linear(nodes, plan, f"{name}/mlp/fc2", active)
    return nodes.add("Add", f"{name}/residual_add/Add", attended, down), skip


def _attention(nodes: Nodes, plan: Plan, shape: Shape, layer: int, normed: str, mask: tuple[str, ...]) -> str:
    name = f"/model/layers.{layer}/attn"
    if plan_onnx.packs_heads(plan.quantization):
        packed = _linear(nodes, plan, f"{name}/qkv_proj", normed)
        mixed = attention.packed(nodes, shape, layer, packed, mask)
    else:
        projected = _linears(nodes, plan, [f"{name}/{one}_proj" for one in "qkv"], normed)
        mixed = attention.separate(nodes, shape, layer, projected, mask)
    return _linear(nodes, plan, f"{name}/o_proj", mixed)


def _head(nodes: Nodes, plan: Plan, normed: str) -> None:
    _linear(nodes, plan, "/lm_head", normed)
    nodes.found[-1].output[0] = "logits"


def _linear(nodes: Nodes, plan: Plan, name: str, value: str) -> str:
    return _linears(nodes, plan, [name], value)[0]


def _linears(nodes: Nodes, plan: Plan, names: list[str], value: str) -> list[str]:
    """Products of one value, then, where the architecture has them, all their biases."""
    biased = plan.metadata["architecture"] == "phi2"
    found = [_product(nodes, plan, name, value) for name in names]
    if biased:
        pairs = zip(names, found, strict=True)
        return [nodes.add("Add", f"{name}/Add", one, f"{_weight(name)}.Add.bias") for name, one in pairs]
    return found


def _product(nodes: Nodes, plan: Plan, name: str, value: str) -> str:
    kind, accuracy = plan_onnx.quantizations()[plan.quantization]
    weight, node = f"{_weight(name)}.MatMul.weight", f"{name}/MatMul"
    if kind not in ("int4", "int8"):
        return nodes.add("MatMul", node, value, weight)
    inner, outer = next(tensor.shape for tensor in plan.tensors if tensor.name == weight)
    bits = plan_onnx.BITS[kind]
    sizes = {"K": inner, "N": outer, "bits": bits, "block_size": plan_onnx.BLOCK}
    sizes |= {"accuracy_level": accuracy} if accuracy else {}
    parts = (f"{weight}_Q{bits}", f"{weight}_scales")
    return nodes.add("MatMulNBits", f"{node}_Q{bits}", value, *parts, outputs=(_OUTPUT.format(node),), **sizes)


def _norm(nodes: Nodes, shape: Shape, name: str, values: tuple[str, ...], keep: bool = True) -> str:
    """The norm of one value, or of the sum of two, which it hands on when asked to ``keep`` it."""
    phi2, weight = shape.architecture == "phi2", _weight(name)
    epsilon = _PHI2_EPSILON if phi2 else shape.norm_eps
    operator = "LayerNormalization" if phi2 else "SimplifiedLayerNormalization"
    learnt = [f"{weight}.weight", f"{weight}.bias"] if phi2 else [f"{weight}.weight"]
    first = _OUTPUT.format(name)
    if len(values) == 1:
        node = f"{name}/LayerNorm"
        return nodes.add(operator, node, *values, *learnt, outputs=(first,), epsilon=epsilon, axis=-1, stash_type=1)
    outputs = (first, "", "", _RESIDUAL.format(name)) if keep else (first,)
    skip = f"{name}/SkipLayerNorm"
    return nodes.add(f"Skip{operator}", skip, *values, *learnt, outputs=outputs, epsilon=epsilon)


def _weight(name: str) -> str:
    """``/model/layers.0/mlp/up_proj`` is ``model.layers.0.mlp.up_proj``."""
    return name[1:].replace("/", ".")


def _values(plan: Plan, shape: Shape) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Inputs and outputs of the graph."""
    from onnx import TensorProto, helper

    real = TensorProto.FLOAT if plan_onnx.real_type(plan.quantization) == "fp32" else TensorProto.FLOAT16

    def cache(name: str, length: str) -> list[ValueInfoProto]:
        dims = ["batch_size", shape.kv_heads, length, "kv_cache_dim"]
        return [
            helper.make_tensor_value_info(f"{name}.{layer}.{one}", real, dims)
            for one in ("key", "value")
            for layer in range(plan.layers)
        ]

    lengths = {"input_ids": "sequence_length", "attention_mask": "total_sequence_length"}
    lengths |= {} if plan_onnx.packs_heads(plan.quantization) else {"position_ids": "sequence_length"}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", length])
        for name, length in lengths.items()
    ]
    logits = helper.make_tensor_value_info("logits", real, ["batch_size", "sequence_length", shape.vocab])
    past = cache("past_key_values", "past_sequence_length")
    return inputs + past, [logits, *cache("present", "total_sequence_length")]
