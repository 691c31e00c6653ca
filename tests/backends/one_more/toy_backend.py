"""numpy alone computes a Phi-3, every token anew: slow, small, and right. Opens .npz files.

Written against ``phibench.backends.contract`` alone; a test copies it to ``phibench/backends/toy/__init__.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from phibench.backends import untold
from phibench.backends.contract import Abilities, EnginePackage, LastFfn, LongRope
from phibench.backends.rates import KV, Rates
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Engine, Job, Need, Runtime, Shape, Variant, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NAME, ALIASES, FORMATS, KINDS = "toy", ("toys",), ("npz",), ("cpu",)
LONGROPE: LongRope = "by_length"
LAST_FFN: LastFfn = "all"
PACKAGE, PACKAGES, EXTRA, LIBRARIES = "numpy", ("numpy",), "test", ("numpy/",)
ENGINE = EnginePackage(title="numpy", module="numpy", package=PACKAGE, question="print('[]')", imports=())
RECOMMENDABLE, LEADS, TRAINS, QUANTIZATION, VERIFIED = True, True, (), "half", ("half",)
RATES = Rates(
    read_share=(0.01, 0.5), matrix_share={"float32": (0.01, 0.5)}, times={"decode": 4.0, "prefill": 4.0}, times_sd=1.0,
    thread_gb_s={"fp16": 1.0, KV: 1.0}, attention_gflop_s=1.0,
)  # fmt: skip
LEGAL: dict[str, tuple[str, ...] | range] = {"threads": range(1, 4097)}
DEFAULTS, SAFE = {"threads": ""}, ()
advice, build_note, gpu_build = untold.advice, untold.build_note, untold.gpu_build
planned, recomputed_at = untold.planned, untold.recomputed_at


def installed() -> str | None:
    return importlib.metadata.version(PACKAGE)


def devices() -> tuple[str, ...]:
    return KINDS


def runs(variant: Variant) -> Runtime | None:
    known = variant.shape is not None and variant.shape.architecture == "phi3"
    return Runtime(name=NAME, runs=known, note="its forward pass is that of Phi-3")


def abilities(answer: bytes) -> Abilities:
    return Abilities(devices=KINDS, features=msgspec.json.decode(answer, type=tuple[str, ...]))


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    del options, prompt, used
    return Need(weights_bytes=2 * plan.weights_bytes, kv_bytes=0, compute_bytes=batch * context * shape.ffn * 16,
                runtime_bytes=100 << 20, because="weights in float32")  # fmt: skip


@contextmanager
def session(job: Job) -> Iterator[_Session]:
    yield _Session(job)


class _Session:
    def __init__(self, job: Job) -> None:
        import numpy as np

        with np.load(job.artifact.path) as stored:
            self._weights = {name: stored[name].astype(np.float32) for name in stored.files if name != "config"}
            self._config: dict[str, Any] = json.loads(str(stored["config"]))
        self._random = random.Random(0)
        self._ids: list[int] = []
        self._logits = np.zeros(1, np.float32)
        self.sampling_s = 0.0
        told = ("all arrays are numpy's",)
        self.engine = Engine(name=NAME, version=installed() or "", placement="cpu", evidence=told)

    def begin(self, workload: Workload) -> None:
        if workload.batch > 1:
            raise PhibenchError("toy takes one sequence")
        self._ids = self._drawn(workload.depth)

    def _drawn(self, count: int) -> list[int]:
        return [self._random.randrange(self._config["vocab_size"]) for _ in range(count)]

    def prefill(self, tokens: int) -> None:
        self._advance(self._drawn(tokens))

    def step(self) -> None:
        self._advance([int(self._logits.argmax())])

    def _advance(self, ids: Sequence[int]) -> None:
        self._ids.extend(ids)
        self._logits = forward(self._weights, self._config, self._ids)

    def unsound(self) -> str | None:
        return None if math.isfinite(float(self._logits.sum())) else "the logits are not finite numbers"

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> Any:
        import numpy as np

        ends = range(len(prompt), len(prompt) + len(then) + 1)
        return np.stack([forward(self._weights, self._config, [*prompt, *then][:end]) for end in ends])


def forward(w: dict[str, Any], c: dict[str, Any], ids: Sequence[int]) -> Any:
    """Logits after the last token: transformers' modeling_phi3.py, without a cache."""
    import numpy as np

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * w[name]

    def rotate(x: Any) -> Any:
        one, two, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return np.concatenate([one * cos - two * sin, two * cos + one * sin, rest], -1)

    n, heads, kv, hidden = len(ids), c["num_attention_heads"], c["num_key_value_heads"], c["hidden_size"]
    size = w["model.layers.0.self_attn.o_proj.weight"].shape[1] // heads
    half, most = int(size * c["partial_rotary_factor"]) // 2, c["max_position_embeddings"]
    first, rope = c["original_max_position_embeddings"], c["rope_scaling"]
    factors = np.array(rope["long_factor" if n > first else "short_factor"]) if rope else np.ones(half)
    scale = math.sqrt(1 + math.log(most / first) / math.log(first)) if rope and most > first else 1.0
    angles = np.arange(n)[:, None, None] / (factors * c["rope_theta"] ** (np.arange(half) / half))
    cos, sin = (np.float32(scale) * f(angles).astype(np.float32) for f in (np.cos, np.sin))
    mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
    x = w["model.embed_tokens.weight"][list(ids)]
    for layer in (f"model.layers.{index}." for index in range(c["num_hidden_layers"])):
        qkv = norm(x, f"{layer}input_layernorm.weight") @ w[f"{layer}self_attn.qkv_proj.weight"].T
        q, k, v = np.split(qkv.reshape(n, -1, size), [heads, heads + kv], axis=1)
        k, v = (np.repeat(one, heads // kv, axis=1) for one in (rotate(k), v))
        scores = np.einsum("qhd,khd->hqk", rotate(q), k) / math.sqrt(size) + mask
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", shares, v).reshape(n, -1) @ w[f"{layer}self_attn.o_proj.weight"].T
        gate_up = norm(x, f"{layer}post_attention_layernorm.weight") @ w[f"{layer}mlp.gate_up_proj.weight"].T
        gate, up = np.split(gate_up, 2, axis=-1)
        x = x + (up * gate / (1 + np.exp(-gate))) @ w[f"{layer}mlp.down_proj.weight"].T
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return (norm(x[-1].reshape(hidden), "model.norm.weight") @ head.T).astype(np.float32)
