"""GB/s of weights that one thread multiplies with a vector when they lie in its cache: ONNX Runtime and torch.

python benchmarks/thread_rates.py
Figures of phibench/backends/*/rates.py (but PyTorch's int8 and int4): best of 400 calls on a matrix of 512 x 1024.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROWS, COLUMNS, CALLS = 512, 1024, 400


def best_s(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def onnxruntime_rates() -> Iterator[tuple[str, float]]:
    import onnxruntime

    for kind in ("int4", "int4-acc0", "int8", "fp32", "fp16"):
        model, size = graph(kind)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        binding.bind_cpu_input("x", np.ones((1, COLUMNS), np.float16 if kind == "fp16" else np.float32))
        binding.bind_output("y")
        yield kind, size / best_s(functools.partial(session.run_with_iobinding, binding))


def graph(kind: str) -> tuple[bytes, int]:
    """One product as onnxruntime-genai's packages have it, and the bytes of its weights."""
    import onnx
    from onnx import helper

    rng = np.random.default_rng(0)
    float_type = onnx.TensorProto.FLOAT16 if kind == "fp16" else onnx.TensorProto.FLOAT
    if kind.startswith("int"):
        bits = int(kind[3])
        blocks = COLUMNS // 32
        arrays = {
            "w": rng.integers(0, 256, (ROWS, blocks, 4 * bits), np.uint8),
            "s": rng.random(ROWS * blocks, np.float32) * 0.01,
        }
        node = helper.make_node(
            "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=COLUMNS, N=ROWS, bits=bits, block_size=32,
            accuracy_level=0 if kind.endswith("acc0") else 4,
        )  # fmt: skip
    else:
        weights = rng.standard_normal((COLUMNS, ROWS), np.float32)
        arrays = {"w": weights.astype(np.float16) if kind == "fp16" else weights}
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
    body = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("x", float_type, [1, COLUMNS])],
        [helper.make_tensor_value_info("y", float_type, [1, ROWS])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10)
    return model.SerializeToString(), sum(array.nbytes for array in arrays.values())


def torch_rates() -> Iterator[tuple[str, float]]:
    import torch

    torch.set_num_threads(1)
    vector = torch.ones(1, COLUMNS)
    with torch.inference_mode():
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            weights, x = torch.randn(ROWS, COLUMNS).to(kind), vector[0].to(kind)
            with torch.backends.mkldnn.flags(enabled=False):
                yield name, weights.nbytes / best_s(functools.partial(torch.mv, weights, x))
        packed = torch.randint(-127, 127, (ROWS, COLUMNS), dtype=torch.int8)
        scales = torch.ones(ROWS, dtype=torch.bfloat16)
        int8 = torch._weight_int8pack_mm  # noqa: SLF001  what torchao's int8 ends in, on a CPU
        yield "int8", packed.nbytes / best_s(functools.partial(int8, vector.bfloat16(), packed, scales))


if __name__ == "__main__":
    for engine, found in (("onnxruntime", onnxruntime_rates()), ("torch", torch_rates())):
        for kind, rate in found:
            print(f"{engine:12} {kind:10} {rate / 1e9:5.1f} GB/s")
