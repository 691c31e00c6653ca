"""The contract of a backend: its facts, readable without its engine, and its sessions.

The promise of a session: each step returns when one more token of every sequence has reached the host,
and it never stops early. The clock belongs to ``measure/timing.py``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from phibench.backends.rates import Rates
from phibench.core.nouns import Engine, Finding, Job, Need, Noun, Processor, Runtime, Shape, Variant, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.catalog.plans.base import Plan


LongRope = Literal["by_context", "by_length"]
"""What decides between LongRoPE's short and long factors: the context that was configured, once for all tokens, or the
length that a sequence has reached."""


LastFfn = Literal["all", "logits"]
"""Which tokens of a prompt pass the FFN of the last layer: all, or only those whose logits are wanted."""


class EnginePackage(Noun, frozen=True, kw_only=True):
    """What is installed of an engine, and how it is asked what its build can do.

    ``question``: a program for a child process, which prints a line of JSON. ``beside``: another package that the
    backend needs; ``beside_of``: what goes beside other builds of the engine, by their package.
    """

    title: str  # as its makers write it
    module: str  # that is imported
    package: str  # the usual one of those that bring the module
    question: str
    imports: tuple[str, ...]  # what a session loads; timed apart from a self-test, and told where it is missing
    beside: str = ""
    beside_of: dict[str, str] = {}  # noqa: RUF012  msgspec copies an empty default
    hint: str = ""  # for whoever has to install it
    compiled: bool = False  # as it is installed: the package index has sources alone


class Abilities(Noun, frozen=True, kw_only=True):
    """What a build says that it can use, and what it was built with.

    ``reached``: devices that it finds through execution providers: (provider, kind of device, vendor).
    """

    devices: tuple[str, ...]
    features: tuple[str, ...] = ()
    reached: tuple[tuple[str, str, str], ...] = ()


class Session(Protocol):
    """An open model."""

    @property
    def sampling_s(self) -> float | None:
        """What choosing tokens has cost so far; None where the engine chooses inside its step, unseen."""

    @property
    def engine(self) -> Engine:
        """What runs and where, read from the engine; complete after the first ``begin``."""

    def begin(self, workload: Workload) -> None:
        """Untimed: make room for ``workload.context`` tokens of ``workload.batch`` sequences, forget everything, then
        fill ``workload.depth`` tokens of each. Raises PhibenchError for a batch that the engine cannot run."""

    def prefill(self, tokens: int) -> None:
        """Process a prompt of ``tokens`` in every sequence; return when the token after each is on the host."""

    def step(self) -> None:
        """One more token of every sequence."""

    def unsound(self) -> str | None:
        """Why the logits of the last step cannot be an answer (not finite); None where they can, or where the engine
        keeps them to itself. Untimed."""

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        """Logits, shape (1 + len(then), vocab): after ``prompt`` in one prefill, then after each token of ``then``.

        The same model, graph and cache as in ``prefill`` and ``step``, cut into the same runs. Only the tokens are
        given, not chosen; where one call of the engine runs and chooses (onnxruntime), it is another call. Untimed.
        """


class Backend(Protocol):
    """The facts of a backend, readable without its engine: what others would else have to know of it by name."""

    NAME: str
    ALIASES: tuple[str, ...]  # other spellings, in small letters
    FORMATS: tuple[str, ...]  # of artifacts: "gguf", "onnx", "torch"; empty: opens no file
    KINDS: tuple[str, ...]  # of devices that it can use at all, wherever it is installed: "cpu", "cuda", ...
    LONGROPE: LongRope
    LAST_FFN: LastFfn
    VERIFIED: tuple[str, ...]  # quantizations whose answers ``verify`` compares
    PACKAGE: str  # whose version is the backend's
    PACKAGES: tuple[str, ...]  # all whose versions a result depends on
    ENGINE: EnginePackage | None  # None: there is none
    LIBRARIES: tuple[str, ...]  # folders of its native code, as "module/folder"
    EXTRA: str  # the extra of phibench that installs it
    RECOMMENDABLE: bool
    TRAINS: tuple[str, ...]  # kinds of devices on which adapters are trained with it
    LEADS: bool  # else only where no other engine runs a build as good, or it was measured to be faster
    RATES: Rates | None  # None: nobody recommends it, so nothing is predicted
    QUANTIZATION: str  # the usual one: what is measured when none is asked for
    DEFAULTS: dict[str, str]  # every option and its default
    SAFE: tuple[dict[str, str], ...]  # options to fall back to, in order, where an engine fails its self-test
    LEGAL: dict[str, tuple[str, ...] | range]  # the values that an option may have

    def devices(self) -> tuple[str, ...]:
        """Device texts that the installed engine was built for; empty when it is not installed."""

    def installed(self) -> str | None:
        """The engine's version, or None; does not import it."""

    def runs(self, variant: Variant) -> Runtime | None:
        """Whether it can run the variant, and how we know; None where nobody has said anything."""

    def abilities(self, answer: bytes) -> Abilities:
        """What the answer to ``ENGINE.question`` says. Raises msgspec.DecodeError where that is no answer."""

    def advice(self, processor: Processor, features: tuple[str, ...]) -> Finding | None:
        """What is wrong with a build of these features on this processor; None where nothing is known to be."""

    def build_note(self, processor: Processor, features: tuple[str, ...]) -> str:
        """How the build suits the processor, in words; "" where nobody can tell."""

    def gpu_build(self, kind: str) -> str:
        """The line that installs a build for GPUs of this kind; "" where there is none to be told."""

    def need(
        self, plan: Plan, shape: Shape, context: int, options: dict[str, str],
        prompt: int | None = None, batch: int = 1, used: int | None = None,
    ) -> Need:  # fmt: skip
        """Memory that this use would occupy on the host, without reclaimable file pages. Pure.

        ``context``: tokens of one sequence that room is made for, ``prompt``: of the longest prompt; None: it may fill
        the whole context. ``batch``: sequences at once. ``used``: tokens of one sequence that are ever there, of a test
        that leaves room; None: all of the context.
        """

    def planned(self, plan: Plan, shape: Shape, workload: Workload, options: dict[str, str]) -> dict[str, int]:
        """Bytes on a cpu by the engine's own plan, before weights are there, by use as in ``Engine.buffers``.

        Empty where it has none. ``options``: all of them. Raises PhibenchError where it refuses to plan.
        """

    def recomputed_at(self, shape: Shape) -> int | None:
        """The token that makes the engine forget the KV cache and compute it anew; None where none does."""

    def session(self, job: Job) -> AbstractContextManager[Session]:
        """Open the job's artifact. Raises PhibenchError when the engine refuses."""
