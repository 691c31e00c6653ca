"""A graph in the making: nodes in the order they are made, each value named after its node, as the builder does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import NodeProto

_CONTRIB = {
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "RotaryEmbedding",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}  # operators of ONNX Runtime beside the standard


class Nodes:
    """Collects NodeProtos. ``real``: the name of numpy's type of activations."""

    def __init__(self, real: str) -> None:
        self.found: list[NodeProto] = []
        self.real = real
        self._constants: set[str] = set()

    def add(self, op: str, name: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One more node; the name of its first output."""
        from onnx import helper

        outputs = outputs or (f"{name}/output_0",)
        domain = "com.microsoft" if op in _CONTRIB else ""
        self.found.append(helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def integers(self, value: int | list[int]) -> str:
        """A constant of 64-bit integers, a node where it is first asked for."""
        import numpy as np

        return self._constant(f"INT64/{value}", np.array(value, np.int64))

    def number(self, value: float) -> str:
        """A constant of the activations' type."""
        import numpy as np

        return self._constant(f"{self.real.upper()}/{value}", np.array(value, self.real))

    def filled(self, name: str, shape: str, value: float, kind: str = "int64") -> str:
        """A tensor of that shape, all of one value."""
        import numpy as np
        from onnx import numpy_helper

        return self.add("ConstantOfShape", name, shape, value=numpy_helper.from_array(np.array([value], kind)))

    def _constant(self, text: str, value: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"/model/constants/{text}"
        if name not in self._constants:
            self._constants.add(name)
            node = f"/model/constant_nodes/{text}"
            self.add("Constant", node, outputs=(name,), value=numpy_helper.from_array(value, name))
        return name
