"""Synthetic weights in memory, as ``synth.fill`` makes them for files: a tile per type, a start per tensor."""

from __future__ import annotations

import torch

SCALE = 0.02  # standard deviation; initializer_range of every Phi config in transformers
EMBEDDING_SCALE = 16.0  # or attention averages all tokens into one, layer after layer (docs/synthetic.md)
MAX_DRAWN = 1 << 18  # numbers of a tensor that is drawn by itself: norms, biases, scales
TILE = 2097143  # a prime, so that neither rows nor tensors meet the same place of the tile again
STRIDE = 64567  # numbers between the starts of two neighbouring tensors
_INT8_STEP = 3 * SCALE / 127  # three standard deviations fill int8
_INT4_STEP = 6 * SCALE / 15  # ... from -3 to +3 the 16 steps of int4


class Filler:
    """Makes the same weights for the same model each time; holds a tile of 2 to 8 MB per type."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._random = torch.Generator().manual_seed(0)
        self._tiles: dict[tuple[torch.dtype, float], torch.Tensor] = {}
        self._count = 0

    def __call__(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A tensor of the shape and type of ``like``, by the role that its name tells."""
        self._count += 1
        if name.endswith(("scale", "scales")):
            return self._scales(like)
        if like.is_floating_point() and like.numel() <= MAX_DRAWN:
            drawn = self._draw(like.shape) * SCALE + name.endswith("norm.weight")
            return drawn.to(self._device, like.dtype)
        filled = torch.empty(like.shape, dtype=like.dtype, device=self._device)
        tile = self._tile(like.dtype, EMBEDDING_SCALE if name.endswith("embed_tokens.weight") else SCALE)
        start = self._count * STRIDE % TILE
        for part in filled.view(-1).split(TILE):
            part.copy_(tile[start : start + len(part)])
        return filled

    def _scales(self, like: torch.Tensor) -> torch.Tensor:
        """Of int8: (rows,). Of int4: (groups, rows, 2), scale and zero point."""
        noise = self._draw(like.shape) * 0.05
        if like.dim() == 1:
            return ((1 + noise) * _INT8_STEP).to(self._device, like.dtype)
        noise[..., 0] += 1
        return (noise * _INT4_STEP).to(self._device, like.dtype)

    def _tile(self, dtype: torch.dtype, scale: float) -> torch.Tensor:
        """Twice over, so that a tensor may start anywhere."""
        if (dtype, scale) not in self._tiles:
            if dtype.is_floating_point:
                tile = (self._draw(torch.Size([TILE])) * scale).to(dtype)
            elif dtype == torch.int8:
                tile = (self._draw(torch.Size([TILE])) * (SCALE / _INT8_STEP)).round().clamp(-127, 127).to(dtype)
            else:  # packed nibbles: any bits are as good
                limits = torch.iinfo(dtype)
                tile = torch.randint(limits.min, limits.max + 1, (TILE,), generator=self._random).to(dtype)
            self._tiles[dtype, scale] = torch.cat([tile, tile]).to(self._device)
        return self._tiles[dtype, scale]

    def _draw(self, shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=self._random)
