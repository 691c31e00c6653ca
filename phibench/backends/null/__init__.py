"""No model at all: measures the harness itself, and lets tests kill a worker in every way there is.

Options: ``token_us`` (busy time of a token), ``fail`` (how to die), ``during`` what, and ``at`` = in which repetition
that does it (warm-up included).

A cliff to be found: token ``pause_at`` of the sequence takes ``pause_ms`` more; from token ``step_at`` on every token
takes ``step_percent`` more. ``noise_percent`` is the deviation of a decoded token's time, drawn from ``seed``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phibench import __version__
from phibench.backends import untold
from phibench.backends.contract import Abilities, LastFfn, LongRope
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Engine, Job, Need, Shape, Variant, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.catalog.plans.base import Plan

NAME = "null"
ALIASES: tuple[str, ...] = ()
FORMATS: tuple[str, ...] = ()
KINDS = ("cpu",)
LONGROPE: LongRope = "by_length"  # of nothing
LAST_FFN: LastFfn = "all"  # of nothing, too
PACKAGE = "phibench"
PACKAGES = (PACKAGE,)
ENGINE = None
LIBRARIES: tuple[str, ...] = ()
EXTRA = ""
RECOMMENDABLE = False
TRAINS: tuple[str, ...] = ()
LEADS = True
RATES = None  # nobody predicts it
QUANTIZATION = "Q4_K_M"
VERIFIED: tuple[str, ...] = ()
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097),
    "token_us": range(10**9),
    "fail": ("error", "bug", "exit", "segv", "ill", "bus", "abort", "kill", "int", "hang", "wrong", "oom", "closed"),
    "during": ("open", "begin", "prefill", "decode"),
    "at": range(1, 10**6),
    "pause_at": range(1 << 40),
    "pause_ms": range(10**6),
    "step_at": range(1 << 40),
    "step_percent": range(10**4),
    "noise_percent": range(101),
    "seed": range(1 << 32),
}
DEFAULTS = {
    "threads": "", "token_us": "0", "fail": "", "during": "begin", "at": "1", "pause_at": "0", "pause_ms": "0",
    "step_at": "0", "step_percent": "0", "noise_percent": "0", "seed": "0",
}  # fmt: skip
SAFE: tuple[dict[str, str], ...] = ()
advice, build_note, gpu_build = untold.advice, untold.build_note, untold.gpu_build
planned, recomputed_at = untold.planned, untold.recomputed_at  # but where ``pause_at`` plants it


def devices() -> tuple[str, ...]:
    return ("cpu",)


def installed() -> str | None:
    return __version__


def runs(variant: Variant) -> None:
    """No model at all."""
    del variant


def abilities(answer: bytes) -> Abilities:
    """Never asked."""
    del answer
    return Abilities(devices=devices())


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    del plan, shape, context, options, prompt, batch, used
    return Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="opens no model")


@contextmanager
def session(job: Job) -> Iterator[_NullSession]:
    options = {**DEFAULTS, **dict(job.setup.options)}
    if options["during"] == "open" and options["fail"]:
        _die(options["fail"])
    yield _NullSession(options)


class _NullSession:
    def __init__(self, options: dict[str, str]) -> None:
        self.sampling_s = 0.0
        self.engine = Engine(name=NAME, version=__version__, placement="nowhere: no model runs")
        self._token_s = float(options["token_us"]) * 1e-6
        self._fail, self._during, self._at = options["fail"], options["during"], int(options["at"])
        self._batch = 1
        self._did = dict.fromkeys(LEGAL["during"], 0)  # repetitions
        self._stepped = False
        self._wrong = ""
        self._planted = {key: int(options[key]) for key in DEFAULTS if key not in ("threads", "fail", "during")}
        self._random = random.Random(self._planted["seed"])  # noqa: S311  noise, not secrets
        self._tokens = 0  # in the KV cache, if there were one

    def begin(self, workload: Workload) -> None:
        self._tokens, self._batch = workload.depth, workload.batch
        self._stepped = False
        self._maybe_die("begin")

    def _maybe_die(self, now: str) -> None:
        self._did[now] += 1
        if not self._fail or self._during != now or self._at != self._did[now]:
            return
        if self._fail == "wrong":
            self._wrong = "the logits are not finite numbers, as the null backend was told"
        else:
            _die(self._fail)

    def prefill(self, tokens: int) -> None:
        self._maybe_die("prefill")
        self._tokens += tokens
        _busy(tokens * self._batch * self._token_s)

    def step(self) -> None:
        if not self._stepped:
            self._maybe_die("decode")
        self._stepped = True
        self._tokens += 1
        _busy(self._step_s(self._tokens))

    def _step_s(self, token: int) -> float:
        """Seconds of the token that is ``token``-th in the sequence."""
        planted = self._planted
        slower = planted["step_percent"] if 0 < planted["step_at"] <= token else 0
        noise = self._random.gauss(0, planted["noise_percent"])
        pause = planted["pause_ms"] * 1e-3 if token == planted["pause_at"] else 0.0
        return pause + max(0.0, self._token_s * (1 + slower / 100) * (1 + noise / 100))

    def unsound(self) -> str | None:
        return self._wrong or None

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        del prompt, then
        raise PhibenchError("the null backend has no model whose answers could be compared")


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _die(how: str) -> None:
    if how == "error":
        raise PhibenchError("the null backend fails as it was told to")
    if how == "bug":
        raise ZeroDivisionError("the null backend has a bug as it was told to")
    if how == "exit":
        print("an unrelated line of a log", file=sys.stderr, flush=True)
        os._exit(3)
    if how == "oom":
        _ask_for_too_much()
    if how == "closed":
        os.closerange(3, 256)  # the worker's own copy of stdout among them
    if how in ("hang", "closed"):
        threading.Event().wait()
    if how == "abort":
        print("GGML_ASSERT(told_to_fail) failed", file=sys.stderr, flush=True)
    signals = {"segv": "SIGSEGV", "ill": "SIGILL", "bus": "SIGBUS", "abort": "SIGABRT", "kill": "SIGKILL"}
    os.kill(os.getpid(), getattr(signal, signals.get(how, "SIGINT")))


def _ask_for_too_much() -> None:
    """For more than a limit of this process allows: nothing of the machine is taken."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, hard))
    bytearray(1 << 45)
