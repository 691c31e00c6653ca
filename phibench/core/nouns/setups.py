"""What is measured: the setup, the point of a suite's grid, the file, the job of a worker."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from phibench.core.nouns.base import AtLeastOne, Count, Noun, Seconds, Tokens


class Setup(Noun, frozen=True, kw_only=True, order=True):
    """The pivot: variant x quantization x backend x device, and the options that are not the default."""

    variant: str
    quantization: str
    backend: str
    device: str = "cpu"
    options: tuple[tuple[str, str], ...] = ()  # sorted

    def __str__(self) -> str:
        return f"{self.model}@{self.place}"

    @property
    def model(self) -> str:
        return f"{self.variant}:{self.quantization}"

    @property
    def place(self) -> str:
        tail = "&".join(f"{k}={v}" for k, v in self.options)
        return f"{self.backend}/{self.device}" + (f"?{tail}" if tail else "")


class Workload(Noun, frozen=True, kw_only=True, order=True):
    """One point of a suite's grid. ``prompt_tokens`` are timed, ``depth`` is already in the KV cache."""

    prompt_tokens: Tokens
    new_tokens: Tokens
    batch: AtLeastOne = 1
    depth: Tokens = 0
    room: Tokens = 0  # tokens of one sequence that the KV cache is made for; 0: the test's own

    def __str__(self) -> str:
        parts = [f"pp{self.prompt_tokens}"] if self.prompt_tokens else []
        parts += [f"tg{self.new_tokens}"] if self.new_tokens else []
        text = "+".join(parts)
        text += f" x{self.batch}" if self.batch > 1 else ""
        text += f" @ d{self.depth}" if self.depth else ""
        return f"{text} in {self.room}" if self.room else text

    @property
    def context(self) -> int:
        """Tokens of one sequence that the KV cache is made for."""
        return max(self.room, self.used)

    @property
    def single(self) -> Workload:
        """The test of one sequence: what tests with different batches have in common."""
        return msgspec.structs.replace(self, batch=1)

    @property
    def used(self) -> int:
        """Tokens of one sequence that are there at the end."""
        return self.depth + self.prompt_tokens + self.new_tokens


class Warmup(Noun, frozen=True, kw_only=True):
    """Repeat untimed until ``windows`` repetitions agree within ``tolerance``; stop at either cap.

    ``max_prompt_tokens`` cuts the prompt of a warm-up repetition, where a whole one would take too long.
    """

    windows: AtLeastOne = 3
    tolerance: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.03
    max_windows: Count = 5
    max_s: Seconds = 10.0
    max_prompt_tokens: AtLeastOne | None = None


PageCache = Literal["cold", "warm"]


class Shorter(Noun, frozen=True, kw_only=True):
    """What ``--quick`` makes of a suite: the fields that are given replace the suite's."""

    prompt_tokens: tuple[int, ...] | None = None
    new_tokens: tuple[int, ...] | None = None
    pairs: tuple[tuple[int, int], ...] | None = None
    batches: tuple[int, ...] | None = None
    contexts: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    walks: tuple[tuple[int, int], ...] | None = None
    repetitions: AtLeastOne | None = None
    launches: AtLeastOne | None = None
    window_s: Seconds | None = None
    idle_s: Seconds | None = None
    warmup: Warmup | None = None
    look_s: Seconds | None = None


class Suite(Noun, frozen=True, kw_only=True):
    """A question with its axes and protocol: one TOML file.

    ``batches``: equal sequences at once. ``contexts``: tokens that the KV cache is made for, 0 for the test's own.
    ``window_s``: a repetition goes on until this time has passed, test after test; 0: it is one test.
    ``idle_s``: rest with the model open before and after the repetitions, which energy is compared with.
    ``fresh``: a worker of its own for every test, so that its memory is that test's alone.
    ``page_cache``: what the file's pages are when a launch opens it; launches take turns.
    """

    name: str
    question: str
    metrics: tuple[str, ...]
    prompt_tokens: tuple[int, ...] = ()
    new_tokens: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    depths: tuple[int, ...] = (0,)
    walks: tuple[tuple[int, int], ...] = ()  # first and last token of a stretch decoded step by step
    batches: tuple[int, ...] = (1,)
    contexts: tuple[int, ...] = (0,)
    window_s: Seconds = 0.0
    idle_s: Seconds = 0.0
    fresh: bool = False
    page_cache: tuple[PageCache, ...] = ()
    repetitions: AtLeastOne = 5
    launches: AtLeastOne = 1
    warmup: Warmup = Warmup()
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1800.0  # for one repetition, and for opening the model
    look_s: Seconds = 5.0  # the machine is watched before the first test; five seconds are the most
    quick: Shorter | None = None
    short: bool = False  # was made shorter by --quick: its figures are a first look

    def workloads(self) -> tuple[Workload, ...]:
        """The only place where the grid exists; 0 skips that test."""
        tests = [(p, 0) for p in self.prompt_tokens if p]
        tests += [(0, n) for n in self.new_tokens if n]
        tests += [(p, n) for p, n in self.pairs]
        grid = [
            Workload(prompt_tokens=p, new_tokens=n, depth=d, batch=b, room=c)
            for c in self.contexts
            for d in self.depths
            for b in self.batches
            for p, n in tests
        ]
        grid += [Workload(prompt_tokens=0, new_tokens=last - first, depth=first) for first, last in self.walks]
        return tuple(grid)

    def shortened(self) -> Suite:
        """As ``--quick`` wants it; a suite without a [quick] table is left as it is."""
        given = {key: value for key, value in _fields(self.quick).items() if value is not None} if self.quick else {}
        return msgspec.structs.replace(self, **given, quick=None, short=bool(given))


def _fields(noun: Noun) -> dict[str, object]:
    return {name: getattr(noun, name) for name in noun.__struct_fields__}


class Artifact(Noun, frozen=True, kw_only=True):
    """The file or folder that a setup opens (path "" where nothing is written); ``layers`` None: the whole model."""

    path: str
    bytes: int
    weights: Literal["real", "synthetic"]
    layers: int | None = None
    tensor_types: dict[str, int] = {}  # histogram: GGML type -> number of tensors
    parameters: int | None = None
    facts: dict[str, str] = {}  # of the files: kv_type, logits ("last" or "all"), exporter, ...


class Job(Noun, frozen=True, kw_only=True):
    """All that a worker is told."""

    setup: Setup
    suite: Suite
    workloads: tuple[Workload, ...]
    artifact: Artifact
    threads: int
    launch: int = 0
