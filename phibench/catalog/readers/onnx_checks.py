"""What of an ONNX package must agree with itself, so that a damaged one is not taken for another model.

ONNX Runtime refuses such a graph, too, but only after gigabytes were read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phibench.core.errors import PhibenchError

_AGAIN = "download it again"
_UINT8 = 2  # TensorProto.DataType


def check(path: Path, graph: Any, past: str, layers: int | None, bits: Mapping[int, int]) -> None:
    """Raises PhibenchError (exit 2) for a graph that contradicts itself or the number of layers.

    ``past``: how the inputs of the KV cache are called, with ``%d`` for the layer; ``bits``: of an element by its type.
    """
    _check_names(path, graph)
    _check_products(path, graph)
    _check_lengths(path, graph, bits)
    head, _, tail = past.partition("%d")
    pattern = re.compile(f"{re.escape(head)}([0-9]{{1,4}}){re.escape(tail)}")
    cached = {found[1] for value in graph.input if (found := pattern.fullmatch(value.name))}
    if layers is not None and cached and len(cached) != layers:
        raise PhibenchError(f"{path} says {layers} layers, and its graph keeps the KV cache of {len(cached)}: {_AGAIN}")


def _check_names(path: Path, graph: Any) -> None:
    """What a node takes, something must give."""
    given = {""} | {one.name for one in (*graph.initializer, *graph.input)}
    given |= {output for node in graph.node for output in node.output}
    for node in graph.node:
        for name in node.input:
            if name not in given:
                raise PhibenchError(
                    f"{path} has a {node.op_type[:50]} of {name[:100]!r}, which nothing gives: {_AGAIN}"
                )


def _check_lengths(path: Path, graph: Any, bits: Mapping[int, int]) -> None:
    """What lies in another file says its length again."""
    for one in graph.initializer:
        length = next((entry.value for entry in one.external_data if entry.key == "length"), None)
        due = -(-math.prod(int(dim) for dim in one.dims) * bits.get(one.data_type, 0) // 8)
        if length is not None and one.data_type in bits and length != str(due):
            name = one.name[:100]
            raise PhibenchError(f"{path} has a tensor {name!r} of another shape than its {length[:30]} bytes: {_AGAIN}")


def _check_products(path: Path, graph: Any) -> None:
    """MatMulNBits: K x N weights of so many bits in blocks lie as (N, blocks of K, bytes of a block)."""
    dims = {one.name: [int(dim) for dim in one.dims] for one in graph.initializer}
    packed = {one.name for one in graph.initializer if one.data_type == _UINT8 and len(one.dims) == 3}
    for node in graph.node:
        packed -= set(node.input) if node.op_type in ("MatMulNBits", "GatherBlockQuantized", "QMoE") else set()
    if packed:
        raise PhibenchError(f"{path} has packed weights {min(packed)[:100]!r} that no product unpacks: {_AGAIN}")
    for node in graph.node:
        if node.op_type != "MatMulNBits" or len(node.input) < 2 or len(dims.get(node.input[1], ())) != 3:
            continue
        said = {one.name: int(one.i) for one in node.attribute}
        k, n, bits, block = (
            said.get(key, usual) for key, usual in (("K", 0), ("N", 0), ("bits", 4), ("block_size", 0))
        )
        if block < 1 or dims[node.input[1]] != [n, -(-k // block), block * bits // 8]:
            raise PhibenchError(
                f"{path} has a matrix {node.input[1][:100]!r} that is not the one that is multiplied with "
                f"({k} x {n}, {bits} bits): {_AGAIN}"
            )
