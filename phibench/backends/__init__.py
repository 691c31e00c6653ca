"""The folder is the registry: a backend is a module here. Facts on top, heavy imports inside session().

The promise of a session: each step returns when one more token of every sequence has reached the host,
and it never stops early. The clock belongs to ``measure.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Engine, Job, Need, Setup, Shape, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.catalog.plans.base import Plan


_SINGLE = ("cpu", "metal", "mps", "coreml")  # kinds of which a machine has one: "cpu:0" would be no "cpu" elsewhere


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
    """The facts at the top of a backend's file, readable without its engine."""

    NAME: str
    FORMATS: tuple[str, ...]  # of artifacts: "gguf", "onnx", "torch"; empty: opens no file
    KINDS: tuple[str, ...]  # of devices that it can use at all, wherever it is installed: "cpu", "cuda", ...
    MODALITIES: tuple[str, ...]  # that go in: "text", "image", "audio"
    PACKAGE: str
    LIBRARIES: tuple[str, ...]  # folders of its native code, as "module/folder"
    EXTRA: str  # the extra of phibench that installs it
    RECOMMENDABLE: bool
    QUANTIZATION: str  # the usual one: what is measured when none is asked for
    DEFAULTS: dict[str, str]  # every option and its default
    SAFE: tuple[dict[str, str], ...]  # options to fall back to, in order, where an engine fails its self-test
    LEGAL: dict[str, tuple[str, ...] | range]  # the values that an option may have

    def devices(self) -> tuple[str, ...]:
        """Device texts that the installed engine was built for; empty when it is not installed."""

    def installed(self) -> str | None:
        """The engine's version, or None; does not import it."""

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


def names() -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg))


def load(name: str) -> Backend:
    """The backend's module. Raises PhibenchError for an unknown name."""
    known = {n.lower(): n for n in names()}
    aliases = {"llama.cpp": "llama_cpp", "llama-cpp": "llama_cpp", "llamacpp": "llama_cpp"}
    wanted = aliases.get(name.lower(), name.lower().replace("-", "_"))
    if wanted not in known:
        raise unknown("backend", name, known, f"there are: {', '.join(names())}")
    return cast("Backend", importlib.import_module(f"{__name__}.{known[wanted]}"))


def check_options(setup: Setup) -> None:
    """Every option of a setup must be one that its backend knows, with a value that it takes."""
    legal = load(setup.backend).LEGAL
    for key, value in setup.options:
        if key not in legal:
            raise unknown("option", key, legal, f"{setup.backend} knows: {', '.join(legal)}")
        allowed = legal[key]
        if isinstance(allowed, range):
            if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) in allowed):
                raise PhibenchError(f"{key} is a whole number from {allowed[0]} to {allowed[-1]}, not '{value}'")
        elif value not in allowed:
            raise unknown(f"value of {key}", value, allowed, f"it takes: {', '.join(allowed)}")


def check_device(setup: Setup) -> None:
    """A setup's device must be one that its backend can use, as it is installed here."""
    backend = load(setup.backend)
    kind, colon, index = setup.device.partition(":")
    if kind not in backend.KINDS or (colon and not (index.isascii() and index.isdigit())):
        raise unknown("device", setup.device, backend.KINDS, f"{setup.backend} can use: {', '.join(backend.KINDS)}")
    if colon and kind in _SINGLE:
        raise PhibenchError(f"{kind} takes no number: {kind}, not {setup.device}")
    built = backend.devices()
    if kind not in {device.split(":")[0] for device in built}:
        raise PhibenchError(
            f"{setup.backend} as it is installed here cannot use {setup.device}; it was built for {', '.join(built)}"
        )


def build(backend: Backend) -> str | None:
    """Which build of the engine is installed: its version and a digest of its libraries; None where there is none.

    Names, sizes and times of the files: milliseconds, and another after every installation.
    """
    version = backend.installed()
    if version is None:
        return None
    digest = hashlib.sha256(os.environ.get("LLAMA_CPP_LIB_PATH", "").encode())  # llama-cpp-python loads from there
    for place in backend.LIBRARIES:
        module, _, folder = place.partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        with contextlib.suppress(OSError):
            for file in sorted(os.scandir(Path(spec.origin).parent / folder), key=lambda file: file.name):
                seen = file.stat()
                if file.is_file():
                    digest.update(f"{file.name} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return f"{version} {digest.hexdigest()[:10]}"


def effective(setup: Setup) -> dict[str, str]:
    """All options of a setup, defaults included."""
    return {**load(setup.backend).DEFAULTS, **dict(setup.options)}


def require(name: str) -> Backend:
    """Like load(), but the engine must be installed."""
    backend = load(name)
    if backend.installed() is None:
        raise PhibenchError(f"backend {name} is not installed: pip install 'phibench[{backend.EXTRA}]'")
    return backend
