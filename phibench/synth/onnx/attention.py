"""Attention as the builder exports it for CPU: one packed operator for fp32 activations, the long way for fp16."""

from __future__ import annotations

import math

from phibench.core.nouns import Shape
from phibench.synth.onnx.nodes import Nodes

_MASK = "/model/attn_mask_reformat"
_END = (1 << 63) - 1  # of a Slice
_LOWEST = -65504.0  # of fp16


def lengths(nodes: Nodes, total: str | None) -> tuple[str, str]:
    """For GroupQueryAttention: tokens of each sequence less one, and tokens in all.

    ``total``: where LongRoPE has counted the latter already.
    """
    name = f"{_MASK}/attn_mask_subgraph"
    one = nodes.integers([1])
    found = nodes.add("ReduceSum", f"{name}/ReduceSum", "attention_mask", one, keepdims=0)
    found = nodes.add("Sub", f"{name}/Sub", found, one)
    found = nodes.add("Cast", f"{name}/Sub/Cast", found, to=6)
    if total is None:
        total = nodes.add("Shape", f"{name}/Shape", "attention_mask")
        total = nodes.add("Gather", f"{name}/Gather", total, nodes.integers(1), axis=0)
    return found, nodes.add("Cast", f"{name}/Gather/Cast", total, to=6)


def packed(nodes: Nodes, shape: Shape, layer: int, projected: str, mask: tuple[str, ...]) -> str:
    """GroupQueryAttention, which rotates, too."""
    past = [f"past_key_values.{layer}.{one}" for one in ("key", "value")]
    name = f"/model/layers.{layer}/attn/GroupQueryAttention"
    inputs = [projected, "", "", *past, *mask, "cos_cache", "sin_cache", "", "", ""]
    return nodes.add(
        "GroupQueryAttention",
        name,
        *inputs,
        outputs=(f"{name}/output_0", f"present.{layer}.key", f"present.{layer}.value"),
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        scale=1 / math.sqrt(shape.head_dim),
        local_window_size=-1,
        softcap=0.0,
        do_rotary=1,
        rotary_interleaved=0,
    )


def separate(nodes: Nodes, shape: Shape, layer: int, projected: list[str], mask: tuple[str, ...]) -> str:
    """Rotations, keys and values repeated for every head where heads share them, MultiHeadAttention."""
    name = f"/model/layers.{layer}/attn"
    partial = shape.rope_dims != shape.head_dim
    rotated = [
        nodes.add(
            "RotaryEmbedding",
            f"{name}/{one}_rotary/RotaryEmbedding",
            value,
            "position_ids",
            "cos_cache",
            "sin_cache",
            interleaved=0,
            num_heads=heads if partial else 0,
            rotary_embedding_dim=shape.rope_dims if partial else 0,
        )
        for one, value, heads in zip("qk", projected[:2], (shape.heads, shape.kv_heads), strict=True)
    ]
    pasts = [f"past_key_values.{layer}.{one}" for one in ("key", "value")]
    presents = [f"present.{layer}.{one}" for one in ("key", "value")]
    outputs = [f"{name}/MultiHeadAttention/output_0"]
    values = [rotated[1], projected[2]]
    if shape.heads == shape.kv_heads:
        outputs += presents
    else:
        triples = zip("kv", values, pasts, presents, strict=True)
        values = [_repeat(nodes, shape, f"{name}/{one}_proj/repeat_kv", *rest) for one, *rest in triples]
        pasts = ["", ""]
    return nodes.add(
        "MultiHeadAttention",
        f"{name}/MultiHeadAttention",
        *[rotated[0], *values, "", "", *mask, *pasts],
        outputs=outputs,
        num_heads=shape.heads,
        scale=1 / math.sqrt(shape.head_dim),
        unidirectional=0,
    )


def _repeat(nodes: Nodes, shape: Shape, name: str, value: str, past: str, present: str) -> str:
    """The cache with ``value`` behind it, each head as often as queries share it."""
    times = shape.heads // shape.kv_heads
    value = nodes.add("Reshape", f"{name}/Reshape_1", value, nodes.integers([0, 0, shape.kv_heads, -1]))
    value = nodes.add("Transpose", f"{name}/Transpose_1", value, perm=[0, 2, 1, 3])
    nodes.add("Concat", f"{name}/Concat_1", past, value, outputs=(present,), axis=2)
    dims = nodes.add("Shape", f"{name}/Shape_1", present)
    found = []
    for axis in range(4):
        one = nodes.add("Gather", f"{name}/Gather_{axis + 1}", dims, nodes.integers(axis), axis=0)
        found.append(nodes.add("Unsqueeze", f"{name}/Unsqueeze_{axis + 1}", one, nodes.integers([0])))
    batch, heads, length, width = found
    five = nodes.add("Concat", f"{name}/Concat_2", batch, heads, nodes.integers([times]), length, width, axis=0)
    all_heads = nodes.add("Mul", f"{name}/Mul_1", heads, nodes.integers(times))
    four = nodes.add("Concat", f"{name}/Concat_3", batch, all_heads, length, width, axis=0)
    flat = nodes.add("Reshape", f"{name}/Reshape_2", five, nodes.integers([-1]))
    dims = _kept(nodes, name, flat, ("Shape_2", "ConstantOfShape", "Mul", "Equal", "Where"))
    value = nodes.add("Unsqueeze", f"{name}/Unsqueeze_5", present, nodes.integers([2]))
    value = nodes.add("Expand", f"{name}/Expand", value, dims)
    value = nodes.add("Reshape", f"{name}/Reshape_3", value, four)
    value = nodes.add("Transpose", f"{name}/Transpose_2", value, perm=[0, 2, 1, 3])
    return nodes.add("Reshape", f"{name}/Reshape_4", value, nodes.integers([0, 0, shape.heads * shape.head_dim]))


def _kept(nodes: Nodes, name: str, dims: str, names: tuple[str, str, str, str, str]) -> str:
    """Dimensions for Expand, where -1 keeps what is there."""
    found = nodes.add("Shape", f"{name}/{names[0]}", dims)
    ones = nodes.filled(f"{name}/{names[1]}", found, 1)
    minus = nodes.add("Mul", f"{name}/{names[2]}", ones, nodes.integers(-1))
    same = nodes.add("Equal", f"{name}/{names[3]}", dims, minus)
    return nodes.add("Where", f"{name}/{names[4]}", same, ones, dims)


def mask(nodes: Nodes, shape: Shape, total: str | None) -> tuple[str]:
    """For MultiHeadAttention: 0 where a token may look, the lowest number where not, for every head.

    ``total``: where LongRoPE has counted the tokens already.
    """
    causal, new_tokens = _causal(nodes)
    name = f"{_MASK}/attn_mask_subgraph"
    given = nodes.add("Unsqueeze", f"{name}/Unsqueeze_3", "attention_mask", nodes.integers([1]))
    given = nodes.add("Unsqueeze", f"{name}/Unsqueeze_4", given, nodes.integers([2]))
    batch = nodes.add("Shape", f"{name}/Shape_1", "attention_mask")
    dims = None if total else nodes.add("Shape", f"{name}/Shape_2", "attention_mask")
    batch = nodes.add("Gather", f"{name}/Gather_1", batch, nodes.integers(0), axis=0)
    total = nodes.add("Gather", f"{name}/Gather_2", dims, nodes.integers(1), axis=0) if dims else total
    assert total is not None
    batch = nodes.add("Unsqueeze", f"{name}/Unsqueeze_1", batch, nodes.integers([0]))
    total = nodes.add("Unsqueeze", f"{name}/Unsqueeze_2", total, nodes.integers([0]))
    four = nodes.add("Concat", f"{name}/Concat", batch, nodes.integers([1]), new_tokens, total, axis=0)
    four = _kept(nodes, name, four, ("Shape_3", "ConstantOfShape", "Mul", "Equal", "Where_1"))
    given = nodes.add("Expand", f"{name}/Expand", given, four)
    given = nodes.add("Cast", f"{name}/Cast_1", given, to=10)
    absent = nodes.add("Sub", f"{name}/Sub", nodes.number(1), given)
    hidden = nodes.add("Cast", f"{name}/Cast_2", absent, to=9)
    padding = nodes.add("Where", f"{name}/Where_2", hidden, nodes.number(_LOWEST), absent)
    found = nodes.add("Add", f"{_MASK}/Add", padding, causal)
    return (nodes.add("Tile", f"{_MASK}/Tile", found, nodes.integers([1, shape.heads, 1, 1])),)


def _causal(nodes: Nodes) -> tuple[str, str]:
    """No token looks at later ones: that mask, and how many new tokens there are (as a list of one)."""
    name = f"{_MASK}/input_ids_subgraph"
    past = nodes.add("Shape", f"{_MASK}/past_key_subgraph/Shape", "past_key_values.0.key")
    past = nodes.add("Gather", f"{_MASK}/past_key_subgraph/Gather", past, nodes.integers(2), axis=0)
    one = nodes.integers(1)
    new = nodes.add("Shape", f"{name}/Shape_2", "input_ids")
    new = nodes.add("Gather", f"{name}/Gather_2", new, one, axis=0)
    total = nodes.add("Add", f"{name}/Add_1", new, past)
    first = nodes.integers([0])
    total = nodes.add("Unsqueeze", f"{name}/Unsqueeze_3", total, first)
    rows, columns, told = (nodes.add("Unsqueeze", f"{name}/Unsqueeze_{number}", new, first) for number in (4, 5, 6))
    square = nodes.add("Concat", f"{name}/Concat_2", rows, columns, axis=0)
    square = nodes.filled(f"{name}/ConstantOfShape_2", square, _LOWEST, nodes.real)
    rows = nodes.add("Unsqueeze", f"{name}/output_0", _last(nodes, name, square, 1), first)
    column = nodes.add("Concat", f"{name}/Concat_3", rows, nodes.integers([1]), axis=0)
    count = _last(nodes, name, square, 2)
    places = nodes.add("Range", f"{name}/Range", nodes.integers(0), count, one)
    later = nodes.add("Add", f"{name}/Add_2", places, one)
    later = nodes.add("Reshape", f"{name}/Reshape", later, column)
    seen = nodes.add("Less", f"{name}/Less", places, later)
    causal = nodes.add("Where", f"{name}/Where_2", seen, nodes.number(0), square)
    causal = nodes.add("Unsqueeze", f"{name}/Unsqueeze_8", causal, first)
    causal = nodes.add("Unsqueeze", f"{name}/Unsqueeze_9", causal, nodes.integers([1]))
    batch = nodes.add("Shape", f"{name}/Shape_1", "input_ids")
    batch = nodes.add("Gather", f"{name}/Gather_1", batch, nodes.integers(0), axis=0)
    batch = nodes.add("Unsqueeze", f"{name}/Unsqueeze_1", batch, first)
    new = nodes.add("Unsqueeze", f"{name}/Unsqueeze_2", new, first)
    four = nodes.add("Concat", f"{name}/Concat_1", batch, nodes.integers([1]), new, total, axis=0)
    four = _kept(nodes, name, four, ("Shape_3", "ConstantOfShape_1", "Mul", "Equal", "Where_1"))
    return nodes.add("Expand", f"{name}/Expand", causal, four), told


def _last(nodes: Nodes, name: str, value: str, number: int) -> str:
    """Length of the last dimension."""
    dims = nodes.add("Shape", f"{name}/Shape_{number + 3}", value)
    minus, first = nodes.integers([-1]), nodes.integers([0])
    length = nodes.add("Slice", f"{name}/Slice_{number}", dims, minus, nodes.integers([_END]), first)
    return nodes.add("Squeeze", f"{name}/Squeeze_{number}", length, first)
