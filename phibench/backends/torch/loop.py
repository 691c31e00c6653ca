"""The forward pass of Phi over transformers' own modules: equally long sequences, a preallocated KV cache, the last
tokens' logits.

The same operators on the same weights as transformers' ``forward``, in the same order and precision, so that logits
agree; what is left out is what a decode step does not need: masks, cache objects, growing caches (docs/torch.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Loop:
    """A model with the tokens that it has seen, as many of every sequence.

    ``onednn``: whether oneDNN serves the decoding of one sequence on a CPU, too.
    """

    def __init__(self, model: nn.Module, device: torch.device, onednn: bool) -> None:
        config = model.config
        self._model, self._device = model, device
        self._without_onednn = device.type == "cpu" and not onednn
        self._layer = _phi2_layer if config.model_type == "phi" else _phi3_layer
        self._norm = model.model.final_layernorm if config.model_type == "phi" else model.model.norm
        self._kv_heads = config.num_key_value_heads
        self._head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._groups = config.num_attention_heads // self._kv_heads
        self._window: int | None = getattr(config, "sliding_window", None)
        longrope = config.rope_parameters["rope_type"] == "longrope"
        self._switch: int | None = config.original_max_position_embeddings if longrope else None
        self._is_long = False
        self._tables: dict[bool, tuple[torch.Tensor, torch.Tensor]] = {}
        self.cache = torch.empty(0, device=device)
        self.past = 0

    def make_room(self, context: int, batch: int = 1) -> None:
        """A cache for ``context`` tokens of every sequence, shape (layers, 2, batch, KV heads, context, head size).

        A new one is empty and written with zeros, so that the system counts it as used before it is.
        """
        shape = (self._model.config.num_hidden_layers, 2, batch, self._kv_heads, context, self._head_dim)
        if self.cache.shape == shape:
            return
        self.cache = torch.empty(0, device=self._device)  # the old one goes first
        self.cache = torch.empty(shape, dtype=self._model.dtype, device=self._device).zero_()
        self._ids = torch.zeros(batch, context, dtype=torch.long, device=self._device)
        self._tables = self._rotary(context)
        self.past = 0

    def keep(self, tokens: int) -> bool:
        """Forget all but the first ``tokens``; False when they are not there as a fresh start would leave them."""
        if tokens > self.past or (tokens and self._is_long != self._beyond(tokens)):
            return False
        self.past = tokens
        return True

    @torch.inference_mode()
    def feed(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (batch, vocab) after these ids, shape (batch, n), on the device.

        The token that passes LongRoPE's original context makes transformers drop the cache and compute all tokens
        again with the long factors (``Phi3ForCausalLM.prepare_inputs_for_generation``); so do we.
        """
        end = self.past + ids.shape[1]
        self._ids[:, self.past : end] = ids
        is_long = self._beyond(end)
        start = self.past if is_long == self._is_long else 0
        self.past, self._is_long = end, is_long
        with self._onednn(len(ids) * (end - start) > 1):
            return self._forward(start, end)

    def _forward(self, start: int, end: int) -> torch.Tensor:
        model = self._model
        cos, sin = (table[start:end] for table in self._tables[self._is_long])
        mask = self._mask(start, end)
        batch, count = len(self._ids), end - start
        x = model.model.embed_tokens(self._ids[:, start:end]).flatten(0, 1)
        for layer, (keys, values) in zip(model.model.layers, self.cache, strict=True):

            def attend(
                q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                keys: torch.Tensor = keys, values: torch.Tensor = values,
            ) -> torch.Tensor:  # fmt: skip
                q, k, v = (part.view(batch, count, -1, self._head_dim).transpose(1, 2) for part in (q, k, v))
                _rotate(q, cos, sin)
                _rotate(k, cos, sin)
                keys[:, :, start:end], values[:, :, start:end] = k, v
                return self._attention(q, keys[:, :, :end], values[:, :, :end], mask)

            x = self._layer(layer, x, attend)
        logits: torch.Tensor = model.lm_head(self._norm(x[count - 1 :: count]))
        return logits

    def _attention(
        self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """(batch, heads, n, size) on all keys -> (batch * n, heads * size)."""
        attention = functional.scaled_dot_product_attention
        batch, _, count, size = q.shape
        if count == 1:  # the heads that share keys become rows, so that nothing is copied
            first = -self._window if self._window else 0
            grouped = q.reshape(batch, self._kv_heads, self._groups, size)
            return attention(grouped, keys[:, :, first:], values[:, :, first:]).view(batch, -1)
        if mask is None:
            found = attention(q, keys, values, is_causal=True, enable_gqa=self._groups > 1)
        else:
            keys, values = (part.repeat_interleave(self._groups, 1) for part in (keys, values))
            found = attention(q, keys, values, attn_mask=mask)
        return found.transpose(1, 2).reshape(batch * count, -1)

    def _mask(self, start: int, end: int) -> torch.Tensor | None:
        """What each token may see, (n, all): None where that is all before it, and for one token alone."""
        window = self._window or end
        if end - start == 1 or (start == 0 and end <= window):
            return None
        seen = torch.arange(end, device=self._device)
        now = seen[start:, None]
        return (seen <= now) & (seen > now - window)

    def _beyond(self, tokens: int) -> bool:
        return self._switch is not None and tokens > self._switch

    def _rotary(self, context: int) -> dict[bool, tuple[torch.Tensor, torch.Tensor]]:
        """Cosine and sine of every position, (context, size), from transformers' own module: short and long."""
        found = {}
        for is_long in {False, self._beyond(context)}:
            count = context if is_long or self._switch is None else min(context, self._switch)
            like = torch.empty(1, dtype=self._model.dtype, device=self._device)
            cos, sin = self._model.model.rotary_emb(like, torch.arange(count, device=self._device)[None])
            found[is_long] = cos[0], sin[0]
        return found

    @contextmanager
    def _onednn(self, many: bool) -> Iterator[None]:
        """oneDNN multiplies a matrix fast with two vectors or more, with one at half of what memory could give."""
        if many or not self._without_onednn or not torch.backends.mkldnn.is_available():
            yield
            return
        before = torch.backends.mkldnn.set_flags(_enabled=False)
        try:
            yield
        finally:
            torch.backends.mkldnn.set_flags(_enabled=before[0])


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotate the first dimensions of (batch, heads, n, size) in place."""
    part = x[..., : cos.shape[-1]]
    left, right = part.chunk(2, -1)
    part.copy_(part * cos + torch.cat((-right, left), -1) * sin)


def _phi3_layer(layer: nn.Module, x: torch.Tensor, attend: Attend) -> torch.Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = attention.qkv_proj(layer.input_layernorm(x))
    queries = attention.config.num_attention_heads * attention.head_dim
    q, k, v = qkv.split([queries, (qkv.shape[-1] - queries) // 2, (qkv.shape[-1] - queries) // 2], -1)
    x = x + attention.o_proj(attend(q, k, v))
    gate, up = mlp.gate_up_proj(layer.post_attention_layernorm(x)).chunk(2, -1)
    return x + mlp.down_proj(up * mlp.activation_fn(gate))


def _phi2_layer(layer: nn.Module, x: torch.Tensor, attend: Attend) -> torch.Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    h = layer.input_layernorm(x)
    attended = attention.dense(attend(attention.q_proj(h), attention.k_proj(h), attention.v_proj(h)))
    return attended + mlp.fc2(mlp.activation_fn(mlp.fc1(h))) + x
