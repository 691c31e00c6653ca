"""Linear layers with int8 and int4 weights, and with long rows, for the kernels that torch itself has.

torchao's ``Int8WeightOnlyConfig`` turns the whole matrix into bf16 for every token; torch's own kernel multiplies the
bytes where they lie, which is 15 times faster on a CPU (docs/torch.md). The arithmetic of the weights is torchao's:
int8 symmetric with a scale per row; int4 asymmetric with a scale and a zero point per group.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from phibench.catalog.plans.torch import GROUP
from phibench.core.errors import FAILED, UnavailableError

_ROWS = 32  # from here on, int8 weights are turned into bf16 once per call: its matrix product is faster
_INNER_TILES = 8  # of CUDA's int4 layout
_LONG = 6144  # numbers of 16 bits that a vector may have to stay in 32 kB beside what streams by
_MOST_PARTS = 8
_LEAST_SCALE = 1e-6  # a row or group of zeros divides by it


class Int8Linear(nn.Module):
    """y = (x @ weight.T) * scale + bias, weight int8 (rows, columns), scale bf16 (rows,). Made on the meta device."""

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, kind: str) -> None:
        super().__init__()
        self._on_cpu = kind == "cpu"
        self.weight = nn.Buffer(torch.empty(rows, columns, dtype=torch.int8, device="meta"))
        self.scale = nn.Buffer(torch.empty(rows, dtype=torch.bfloat16, device="meta"))
        self.bias = bias

    def take(self, weight: torch.Tensor) -> None:
        """Quantize a float matrix into this layer, on the matrix's device."""
        weight = weight.float()
        self.scale = nn.Buffer((weight.abs().amax(1) / 127).clamp_(min=_LEAST_SCALE).bfloat16())
        q = (weight / self.scale.float()[:, None]).round_().clamp_(-128, 127)
        self.weight = nn.Buffer(q.to(torch.int8))

    def dequantized(self) -> torch.Tensor:
        """The matrix that this layer stands for, float32."""
        return self.weight.float() * self.scale.float()[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._on_cpu and len(x) < _ROWS:
            found = torch._weight_int8pack_mm(x, self.weight, self.scale)  # noqa: SLF001  torch's only name for it
        else:
            found = functional.linear(x, self.weight.to(x.dtype)) * self.scale
        return found if self.bias is None else found + self.bias


class Int4Linear(nn.Module):
    """y = x @ weight.T + bias; weight = (q - 8) * scale + zero, q packed as the kernel of ``kind`` wants it."""

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, kind: str) -> None:
        super().__init__()
        if kind not in ("cpu", "cuda"):
            raise UnavailableError(f"phibench knows no int4 kernel of torch for {kind}; use int8 or bf16", FAILED)
        self._size, self._on_cpu = (rows, columns), kind == "cpu"
        shape: tuple[int, ...] = (rows, columns // 2)
        if not self._on_cpu:
            shape = (rows // 8, columns // (_INNER_TILES * 16), 32, _INNER_TILES // 2)
        self.weight = nn.Buffer(torch.empty(shape, dtype=torch.uint8 if self._on_cpu else torch.int32, device="meta"))
        self.scales = nn.Buffer(torch.empty(columns // GROUP, rows, 2, dtype=torch.bfloat16, device="meta"))
        self.bias = bias

    def take(self, weight: torch.Tensor) -> None:
        """Quantize a float matrix into this layer, on the matrix's device."""
        rows, columns = self._size
        groups = weight.float().view(rows, columns // GROUP, GROUP)
        low, high = groups.amin(2), groups.amax(2)
        scale = ((high - low) / 15).clamp_(min=_LEAST_SCALE).bfloat16()
        zero = (low + 8 * scale.float()).bfloat16()
        self.scales = nn.Buffer(torch.stack([scale, zero], -1).transpose(0, 1).contiguous())
        q = (groups - zero.float()[..., None]).div_(scale.float()[..., None]).add_(8).round_().clamp_(0, 15)
        q = q.view(rows, columns).to(torch.int32)
        if self._on_cpu:
            packed = torch._convert_weight_to_int4pack_for_cpu(q, 1)  # noqa: SLF001  torch's only name for it
        else:
            pairs = (q[:, ::2] << 4 | q[:, 1::2]).to(torch.uint8)
            packed = torch._convert_weight_to_int4pack(pairs, _INNER_TILES)  # noqa: SLF001
        self.weight = nn.Buffer(packed)

    def dequantized(self) -> torch.Tensor:
        """The matrix that this layer stands for, float32: what the kernel makes of the unit vectors."""
        return self._product(torch.eye(self._size[1], dtype=torch.bfloat16, device=self.weight.device)).t().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self._product(x)
        return found if self.bias is None else found + self.bias

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        product = torch._weight_int4pack_mm_for_cpu if self._on_cpu else torch._weight_int4pack_mm  # noqa: SLF001
        found: torch.Tensor = product(x, self.weight, GROUP, self.scales)
        return found


class SplitLinear(nn.Module):
    """y = x @ weight.T + bias, weight (parts, rows, columns / parts), each part in one piece. Made on the meta device.

    torch's kernel for one vector on a CPU reads the vector anew for each row. With long rows it does not stay in the
    first-level cache beside them, and the kernel reads memory at 24 instead of 41 GB/s (docs/torch.md).
    """

    def __init__(self, whole: nn.Linear, parts: int) -> None:
        super().__init__()
        shape = parts, whole.out_features, whole.in_features // parts
        self.weight = nn.Buffer(torch.empty(shape, dtype=whole.weight.dtype, device="meta"))
        self.bias = whole.bias

    def take(self, weight: torch.Tensor) -> None:
        """Cut a matrix into this layer, in this layer's type."""
        parts, rows, columns = self.weight.shape
        self.weight = nn.Buffer(weight.to(self.weight.dtype).view(rows, parts, columns).transpose(0, 1).contiguous())

    def whole(self) -> torch.Tensor:
        """The matrix in one piece."""
        return self.weight.transpose(0, 1).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *others = zip(x.chunk(len(self.weight), -1), self.weight, strict=True)
        found = functional.linear(*first, self.bias)
        for part in others:
            found = found + functional.linear(*part)
        return found


KINDS: dict[str, type[Int8Linear | Int4Linear]] = {"int8": Int8Linear, "int4": Int4Linear}


def replace(model: nn.Module, quantization: str, kind: str) -> None:
    """Put empty layers of this module in the place of ``nn.Linear`` where ``quantization`` or a cpu asks for them.

    As transformers' ``TorchAoConfig``: embedding and head stay as they are, and rows that are no whole groups.
    """
    for layer in model.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and (found := _instead_of(child, quantization, kind)):
                    setattr(parent, name, found)


def _instead_of(child: nn.Linear, quantization: str, kind: str) -> nn.Module | None:
    rows, columns = child.out_features, child.in_features
    if quantization in KINDS and not (quantization == "int4" and columns % GROUP):
        return KINDS[quantization](rows, columns, child.bias, kind)
    parts = next((n for n in range(1, _MOST_PARTS + 1) if columns % n == 0 and columns // n <= _LONG), 1)
    if kind == "cpu" and child.weight.dtype.itemsize == 2 and parts > 1:
        return SplitLinear(child, parts)
    return None
