"""Small models with a Phi's structure and seeded weights: the same in every format, and with something to say.

Weights as they are drawn for training would give a verdict on nothing: attention would average all tokens and every
next token would be equally likely, whatever the order of gate and up. So queries and keys are scaled until attention
is peaked, every block writes about as much as it reads, no two norm weights are equal, and the head leaves a
distribution between certain and uniform.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from phibench.catalog.plans.hf_config import Factors
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Noun, Shape, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]
    Drawn = Iterator[tuple[str, NDArray[np.float64]]]


class Random(Protocol):
    """What of a numpy.random.Generator the small models are drawn with."""

    def standard_normal(self, size: tuple[int, ...] | int, /) -> NDArray[np.float64]: ...
    def uniform(self, low: float, high: float, size: int, /) -> NDArray[np.float64]: ...
    def choice(self, options: tuple[float, float], size: int, /) -> NDArray[np.float64]: ...


LAYERS = 3
HEADS, HEAD_DIM, FFN = 4, 64, 512  # rows of 256 and 512: K-quants need blocks of 256
VOCAB = 512
ORIGINAL_CONTEXT = 64  # of LongRoPE: a prompt of 96 tokens uses the long factors
CONTEXT = 256
# One prompt stays below the original context and one above it: no engine changes factors within one.
LENGTHS = (24, 96)
STEPS = 15
_ATTENTION = 1.6  # standard deviation of a query's and a key's elements: their products' is its square
_LOGITS = 2.5  # standard deviation of the logits: entropy about half of the uniform one's


FACTORS = ("rope_factors_short.weight", "rope_factors_long.weight")


class Prompt(Noun, frozen=True, kw_only=True):
    """Token ids that are prefilled, and those that are decoded one by one."""

    tokens: tuple[int, ...]
    then: tuple[int, ...]


class Model(NamedTuple):
    """A small model before it is written in any format; ``variant`` has its small shape."""

    variant: Variant
    weights: Weights
    rope: Factors | None

    @property
    def shape(self) -> Shape:
        assert self.variant.shape is not None
        return self.variant.shape

    @property
    def source(self) -> Weights:
        """All that files hold: the weights, and LongRoPE's factors under GGUF's names."""
        import numpy as np

        return self.weights | {
            name: np.asarray(one, np.float32) for name, one in zip(FACTORS, self.rope or (), strict=False)
        }


class Stored(NamedTuple):
    """A tensor of a file, dequantized, and the rows of the Hugging Face tensors that it is made of, in order."""

    name: str
    places: list[tuple[str, slice]]
    values: NDArray[np.float32]


def model(variant: Variant, seed: int) -> Model:
    """The small model of a variant."""
    import numpy as np

    small = shrunk(variant)
    assert small.shape is not None
    drawn = weights(small.shape, np.random.default_rng((seed, 3)))
    return Model(small, drawn, factors(small.shape, np.random.default_rng((seed, 5))))


def shrunk(variant: Variant) -> Variant:
    """The variant with its structure (architecture, grouped heads, rotary share, ties) and narrow, few layers.

    Raises PhibenchError (exit 2) for a variant that no format has, or GGUF alone.
    """
    shape = variant.shape
    if shape is None:
        raise PhibenchError(f"{variant.id} has no form that phibench writes ({variant.shape_source}); try phi-4-mini")
    if shape.experts:
        raise PhibenchError(f"{variant.id} runs on one backend only, so there is nothing to compare; try phi-4-mini")
    kv_heads = HEADS if shape.heads == shape.kv_heads else HEADS // 2
    rotary = round(HEAD_DIM * shape.rope_dims / shape.head_dim / 16) * 16  # ONNX Runtime wants whole groups of 16
    small = msgspec.structs.replace(
        shape, layers=LAYERS, hidden=HEADS * HEAD_DIM, heads=HEADS, kv_heads=kv_heads, head_dim=HEAD_DIM, ffn=FFN,
        vocab=VOCAB, rope_dims=rotary, context=CONTEXT, original_context=ORIGINAL_CONTEXT if shape.longrope else None,
        sliding_window=None,
    )  # fmt: skip
    return msgspec.structs.replace(variant, shape=small, context_tokens=CONTEXT)


def prompts(vocab: int, seed: int, lengths: Sequence[int] = LENGTHS) -> tuple[Prompt, ...]:
    """Random token ids: prompts of these lengths, each with STEPS tokens that follow."""
    import numpy as np

    rng = np.random.default_rng((seed, 7))

    def ids(count: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(3, vocab, count))  # 0 to 2 pad, begin and end

    return tuple(Prompt(tokens=ids(length), then=ids(STEPS)) for length in lengths)


def factors(shape: Shape, rng: Random) -> Factors | None:
    """LongRoPE factors, short and long, none like another; None where the shape has none."""
    import numpy as np

    if not shape.longrope:
        return None
    short = rng.uniform(1.0, 1.5, shape.rope_dims // 2)
    long = short * rng.uniform(1.5, shape.context / ORIGINAL_CONTEXT, len(short))
    return tuple(np.asarray(short, np.float32).tolist()), tuple(np.asarray(long, np.float32).tolist())


def weights(shape: Shape, rng: Random) -> Weights:
    """Every weight by its name in Hugging Face's files, float32."""
    import numpy as np

    return {name: draw.astype(np.float32) for name, draw in _drawn(shape, rng)}


def _drawn(shape: Shape, rng: Random) -> Drawn:
    phi2 = shape.architecture == "phi2"
    stream = _LOGITS / math.sqrt(shape.hidden) if shape.tied else 1.0  # standard deviation of an embedding
    yield "model.embed_tokens.weight", rng.standard_normal((shape.vocab, shape.hidden)) * stream
    for index in range(shape.layers):
        layer = _parallel(shape, rng, stream) if phi2 else _sequential(shape, rng, stream)
        for name, draw in layer:
            yield f"model.layers.{index}.{name}", draw
    last = "model.final_layernorm" if phi2 else "model.norm"
    # with signs, or a tied head would say each token again
    yield f"{last}.weight", _norm(shape, rng) * rng.choice((-1.0, 1.0), shape.hidden)
    if phi2:
        yield f"{last}.bias", rng.standard_normal(shape.hidden) * 0.3
        yield "lm_head.bias", rng.standard_normal(shape.vocab) * 0.5
    if not shape.tied:
        yield "lm_head.weight", _matrix(rng, shape.vocab, shape.hidden, _LOGITS)


def _sequential(shape: Shape, rng: Random, stream: float) -> Drawn:
    """Phi-3: attention, then a gated feed-forward net, each behind its norm."""
    import numpy as np

    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    gains = ((q, _ATTENTION), (kv, _ATTENTION), (kv, 1.0))
    yield "input_layernorm.weight", _norm(shape, rng)
    yield "self_attn.qkv_proj.weight", np.concatenate([_matrix(rng, n, shape.hidden, gain) for n, gain in gains])
    yield "self_attn.o_proj.weight", _matrix(rng, shape.hidden, q, stream)
    yield "post_attention_layernorm.weight", _norm(shape, rng)
    yield "mlp.gate_up_proj.weight", _matrix(rng, 2 * shape.ffn, shape.hidden, 1.5)
    yield "mlp.down_proj.weight", _matrix(rng, shape.hidden, shape.ffn, stream)


def _parallel(shape: Shape, rng: Random, stream: float) -> Drawn:
    """Phi-2: attention and feed-forward net behind one norm, all with biases."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "input_layernorm.weight", _norm(shape, rng)
    yield "input_layernorm.bias", rng.standard_normal(shape.hidden) * 0.3
    for name, rows, columns, gain in (
        ("self_attn.q_proj", q, shape.hidden, _ATTENTION),
        ("self_attn.k_proj", kv, shape.hidden, _ATTENTION),
        ("self_attn.v_proj", kv, shape.hidden, 1.0),
        ("self_attn.dense", shape.hidden, q, stream),
        ("mlp.fc1", shape.ffn, shape.hidden, 1.5),
        ("mlp.fc2", shape.hidden, shape.ffn, stream),
    ):
        yield f"{name}.weight", _matrix(rng, rows, columns, gain)
        yield f"{name}.bias", rng.standard_normal(rows) * 0.3 * gain


def _matrix(rng: Random, rows: int, columns: int, gain: float) -> NDArray[np.float64]:
    """From an input of variance 1 it makes an output with standard deviation ``gain``."""
    return rng.standard_normal((rows, columns)) * (gain / math.sqrt(columns))


def _norm(shape: Shape, rng: Random) -> NDArray[np.float64]:
    return rng.uniform(0.4, 1.6, shape.hidden)
