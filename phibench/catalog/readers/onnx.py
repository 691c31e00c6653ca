"""Reads a folder of onnxruntime-genai: genai_config.json and the graph, never the weights.

Matrices are what MatMulNBits and MatMul multiply with; operators and attributes as in ONNX Runtime's
description of contrib operators. The graph is parsed by the onnx package, whose files may hold 2 GiB at most.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phibench.catalog.plans import onnx as plan_onnx
from phibench.catalog.readers import first_bytes, genai_config, onnx_checks, untrusted
from phibench.catalog.readers.untrusted import Content, Numbers
from phibench.catalog.tensor_types import Tensor
from phibench.core import extras, files
from phibench.core.errors import PhibenchError

MAX_GRAPH_BYTES = 1 << 30  # tables of LongRoPE take 52 MB; weights belong in external data
ABOUT = "phibench.json"  # beside synthetic weights
# TensorProto.DataType -> our name, bits of an element (onnx.proto)
TYPES = {1: ("fp32", 32), 2: ("uint8", 8), 3: ("int8", 8), 6: ("int32", 32), 7: ("int64", 64), 10: ("fp16", 16),
         11: ("fp64", 64), 16: ("bf16", 16), 17: ("fp8", 8), 21: ("uint4", 4), 22: ("int4", 4)}  # fmt: skip
ARCHITECTURES = {"phi": "phi2", "phi3": "phi3"}  # model type -> GGUF's name
_EMBEDS = ("Gather", "GatherBlockQuantized")
_PICKS = ("Gather", "GatherElements", "GatherND", "Slice")  # of all tokens, one
_PASSES = ("Add", "Mul", "Div", "Tanh", "Cast", "Reshape", "Transpose", "MatMul", "MatMulNBits", "Gemm", *_PICKS)


def read(path: Path) -> Content:
    """What the package says. Raises PhibenchError, OSError as :func:`folder.recognise`."""
    config = genai_config.read(path / untrusted.ONNX)
    model, search = untrusted.part(config, "model"), untrusted.part(config, "search")
    decoder = untrusted.part(model, "decoder")
    kind = untrusted.text(model, "type")
    graph_path = _graph_path(path, kind, decoder)
    loaded = _load(graph_path)
    graph = loaded.graph
    weights, tensors, size = _tensors(graph, graph_path)
    quantization, notes = _quantization(path, graph, tensors)
    about = untrusted.read_json(path / ABOUT) if (path / ABOUT).is_file() else {}
    numbers = _numbers(model, decoder)
    untrusted.required(numbers, ("layers", "hidden", "heads", "kv_heads", "vocab"), path / untrusted.ONNX)
    past = untrusted.text(untrusted.part(decoder, "inputs"), "past_key_names") or "past_key_values.%d.key"
    onnx_checks.check(path, graph, past, numbers["layers"], {kind: bits for kind, (_, bits) in TYPES.items()})
    return Content(
        format="onnx",
        quantization=quantization,
        architecture=ARCHITECTURES[kind],
        numbers=numbers,
        longrope=any(node.op_type == "If" for node in graph.node),  # chooses between two tables of factors
        tensors=tensors,
        embedding=_embedding(graph, weights),
        head=_head(graph, weights),
        bytes=size + (path / untrusted.ONNX).stat().st_size,
        facts={
            "kv_type": _kv_type(path, graph, past.replace("%d", "0")),
            "kv_buffer": "shared" if untrusted.switch(search, "past_present_share_buffer", path) else "grown",
            "logits": _logits(graph),
            "exporter": f"{loaded.producer_name or 'unnamed'} {loaded.producer_version}".strip()[:80],
        },
        told=untrusted.text(about, "variant") if about.get("synthetic") is True else None,
        notes=notes,
    )


def _graph_path(path: Path, kind: str, decoder: Mapping[str, Any]) -> Path:
    """Raises PhibenchError (exit 2) for what is no Phi of one graph."""
    if decoder.get("pipeline"):
        raise PhibenchError(
            f"{path} names no graph of its decoder, but several, as for an NPU: take a package with one graph"
        )
    if kind not in ARCHITECTURES:
        raise PhibenchError(
            f"{path} is a {kind[:50]!r} model; phibench measures {' and '.join(ARCHITECTURES)} in ONNX: take the "
            "package of one of 'phibench models'"
        )
    if not untrusted.text(decoder, "filename"):
        raise PhibenchError(f"{path} names no graph of its decoder: take a package with one graph")
    return untrusted.inside(path, untrusted.text(decoder, "filename"))


def _numbers(model: Mapping[str, Any], decoder: Mapping[str, Any]) -> Numbers:
    return {
        "layers": untrusted.count(decoder, "num_hidden_layers"),
        "hidden": untrusted.count(decoder, "hidden_size"),
        "heads": untrusted.count(decoder, "num_attention_heads"),
        "kv_heads": untrusted.count(decoder, "num_key_value_heads"),
        "vocab": untrusted.count(model, "vocab_size"),
        "context": untrusted.count(model, "context_length"),
    }


def _load(path: Path) -> Any:
    """The model of an .onnx file, external data left where it is."""
    files.check_readable(path, MAX_GRAPH_BYTES)
    first_bytes.check(path, first_bytes.ONNX_GRAPH)
    if importlib.util.find_spec("onnx") is None:
        raise PhibenchError(f"reading an ONNX package takes the onnx package: {extras.line('onnxruntime')}")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        loaded = onnx.load_model(path, format="protobuf", load_external_data=False)
    except (DecodeError, ValueError, RecursionError):
        raise PhibenchError(f"{path} is not an ONNX graph: download it again") from None
    if not all(isinstance(one, str) for one in _texts(loaded)):  # protobuf hands on bytes instead
        raise PhibenchError(f"{path} is an ONNX graph with a name that is not UTF-8: download it again")
    return loaded


def _texts(loaded: Any) -> Iterator[Any]:
    """Every text of a model that is read here."""
    yield from (loaded.producer_name, loaded.producer_version)
    yield from (value.name for value in (*loaded.graph.input, *loaded.graph.output))
    for one in loaded.graph.initializer:
        yield one.name
        for entry in one.external_data:
            yield from (entry.key, entry.value)
    for node in loaded.graph.node:
        yield from (node.op_type, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for inner in attribute.g.node:
                yield from (inner.op_type, *inner.output)


def _tensors(graph: Any, path: Path) -> tuple[dict[str, str], tuple[Tensor, ...], int]:
    """(initializer -> its tensor, tensors with scales counted in their matrix, bytes of all files)."""
    lengths, size = _lengths(graph, path)
    weights: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    known = {one.name: one for one in graph.initializer}
    for node in (n for n in graph.node if n.op_type == "MatMulNBits" and len(n.input) > 2 and n.input[1] in known):
        facts = _attributes(node)
        owned = [name for name in node.input[1:4] if name in known]  # weights, scales, zero points
        name = _matrix_name(node.input[1])
        weights |= dict.fromkeys(owned, name)
        found[name] = Tensor(
            name=name,
            shape=(max(1, facts.get("K", 1)), max(1, facts.get("N", 1))),
            type=f"int{facts.get('bits', 4)}",
            bytes=sum(lengths[one] for one in owned),
        )
    for one in graph.initializer:
        if one.name not in weights:
            weights[one.name] = one.name
            dims = tuple(int(dim) for dim in one.dims)
            kind = TYPES.get(one.data_type, ("other", 8))[0]
            found[one.name] = Tensor(name=one.name, shape=dims or (1,), type=kind, bytes=lengths[one.name])
    for name, dims, kind, length in _constants(graph):
        found[name] = Tensor(name=name, shape=dims, type=kind, bytes=length)
    return weights, tuple(found.values()), size


def _matrix_name(name: str) -> str:
    """``lm_head.MatMul.weight_Q4`` is the weight of lm_head; older builders wrote ``_quant``, others ``_Q8``."""
    return name.partition("_Q")[0] if "_Q" in name else name.removesuffix("_quant")


def _lengths(graph: Any, path: Path) -> tuple[dict[str, int], int]:
    """Bytes of every initializer, and of all the files. Raises PhibenchError when one is shorter than they say."""
    lengths: dict[str, int] = {}
    ends: Counter[str] = Counter()
    for one in graph.initializer:
        bits = TYPES.get(one.data_type, ("other", 8))[1]
        dims = [int(dim) for dim in one.dims]
        if any(dim < 0 for dim in dims) or math.prod(dims) > untrusted.MAX_COUNT:
            raise PhibenchError(f"{path} has a tensor {one.name[:100]!r} with shape {dims[:8]}: download it again")
        lengths[one.name] = -(-math.prod(dims) * bits // 8)
        if one.data_location == 1:  # TensorProto.EXTERNAL
            said = {entry.key: entry.value for entry in one.external_data}
            start = said.get("offset", "0")
            if not (start.isascii() and start.isdigit() and len(start) < 16):
                raise PhibenchError(
                    f"{path} has a tensor {one.name[:100]!r} at offset {start[:30]!r}: download it again"
                )
            place = said.get("location", "")
            ends[place] = max(ends[place], int(start) + lengths[one.name])
    size = path.stat().st_size
    for place, needs in ends.items():
        data = untrusted.inside(path.parent, place)
        files.check_readable(data)
        if data.stat().st_size < needs:
            raise untrusted.cut_off(data, needs)
        size += data.stat().st_size
    return lengths, size


def _constants(graph: Any) -> Iterator[tuple[str, tuple[int, ...], str, int]]:
    """Tables in the branches of an If: LongRoPE's cosines and sines."""
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "If" else ():
            for inner in attribute.g.node:
                for value in inner.attribute:
                    dims = tuple(int(dim) for dim in value.t.dims)
                    if inner.op_type == "Constant" and len(dims) == 2 and min(dims) > 0 and inner.output:
                        kind, bits = TYPES.get(value.t.data_type, ("other", 8))
                        yield inner.output[0], dims, kind, math.prod(dims) * bits // 8


def _quantization(path: Path, graph: Any, tensors: Iterable[Tensor]) -> tuple[str, tuple[str, ...]]:
    """Our name for the type of most weights."""
    weighs: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1 and "_cache" not in tensor.name:
            weighs[tensor.type] += math.prod(tensor.shape)
    products = [_attributes(node) for node in graph.node if node.op_type == "MatMulNBits"]
    if products:
        (bits, level), _ = Counter((p.get("bits", 4), p.get("accuracy_level", 0)) for p in products).most_common(1)[0]
        name = _named(bits, level)
        blocks = sorted({p.get("block_size", 0) for p in products})
        if name:
            notes = () if blocks == [32] else (f"blocks of {blocks[0]} weights share a scale, not of 32",)
            return name, notes
        raise PhibenchError(
            f"{path} has matrices of {bits} bits, which is no quantization that phibench knows: take one of 4 or 8"
        )
    kind = weighs.most_common(1)[0][0] if weighs else "nothing"
    if kind not in ("fp32", "fp16"):
        if any(node.op_type == "EPContext" for node in graph.node):
            raise PhibenchError(f"{path} was compiled for one accelerator: take the package that it was made of")
        raise PhibenchError(
            f"{path} keeps its weights as {kind}: take int4, int8, fp16 or fp32, which phibench measures in ONNX"
        )
    return kind, ()


def _named(bits: int, level: int) -> str | None:
    """The quantization with such products: 4 is the level that is asked for, all others count as one."""
    same = [(name, known) for name, (kind, known) in plan_onnx.quantizations().items() if kind == f"int{bits}"]
    return next((name for name, known in same if (known == 4) == (level == 4)), same[0][0] if same else None)


def _attributes(node: Any) -> dict[str, int]:
    return {attribute.name: int(attribute.i) for attribute in node.attribute}


def _kv_type(path: Path, graph: Any, name: str) -> str:
    for value in graph.input:
        if value.name == name:
            kind, _ = TYPES.get(value.type.tensor_type.elem_type, ("other", 8))
            return kind
    raise PhibenchError(
        f"{path} has no input {name[:100]!r}: its graph keeps no KV cache that phibench knows: "
        "take a package that onnxruntime-genai's builder made"
    )


def _before_logits(graph: Any) -> Iterator[Any]:
    """The nodes between the last norm and the logits, last first."""
    makes = {output: node for node in graph.node for output in node.output}
    name, left = graph.output[0].name if graph.output else "", 32
    name = next((value.name for value in graph.output if value.name == "logits"), name)
    while left and name in makes and makes[name].op_type in _PASSES:
        yield makes[name]
        name, left = (makes[name].input[0] if makes[name].input else ""), left - 1


def _logits(graph: Any) -> str:
    """``last`` where the graph picks one token before its head, or says that it gives one; else ``all``."""
    for value in graph.output:
        dims = value.type.tensor_type.shape.dim
        if value.name == "logits" and len(dims) == 3 and dims[1].dim_value == 1:
            return "last"
    return "last" if any(node.op_type in _PICKS for node in _before_logits(graph)) else "all"


def _head(graph: Any, weights: dict[str, str]) -> str:
    for node in _before_logits(graph):
        if node.op_type in ("MatMul", "MatMulNBits", "Gemm") and len(node.input) > 1:
            return weights.get(node.input[1], str(node.input[1]))
    return ""


def _embedding(graph: Any, weights: dict[str, str]) -> str:
    """What the token ids look up; through the Reshape that fits a shared head."""
    makes = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in _EMBEDS and len(node.input) > 1 and node.input[1] == "input_ids":
            name = str(node.input[0])
            while name in makes and makes[name].op_type in ("Reshape", "Transpose") and name not in weights:
                name = str(makes[name].input[0])
            return weights.get(name, name)
    return ""
