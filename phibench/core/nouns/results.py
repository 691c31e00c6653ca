"""What was measured, raw, and what a worker says while it measures."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from phibench.core.nouns.base import SCHEMA, AtLeastOne, Cause, Kind, Noun, Seconds, Tokens
from phibench.core.nouns.machines import Machine
from phibench.core.nouns.models import Need
from phibench.core.nouns.setups import Artifact, Setup, Suite, Workload


class Sample(Noun, frozen=True, kw_only=True):
    """One repetition, raw.

    ``arrivals_s``: arrival of every token on the host, seconds since the work was handed over. A workload
    with ``new_tokens`` = 0 has one arrival: the first token after the prompt.
    ``sampling_s``: what of that was spent on choosing tokens (argmax); None where the engine chooses inside its step.
    ``start_s``: since the first repetition of the test began, of tests that fill a window; ``gauges``: what sensors
    showed just before it. ``ends_only`` (imported): arrivals of the first token after a prompt and of the last alone.
    """

    arrivals_s: tuple[Seconds, ...]
    sampling_s: Seconds | None = None
    start_s: Seconds | None = None
    gauges: dict[str, float] = {}  # cpu_temp_c, cpu_hz, gpu_temp_c, gpu_hz, ...
    ends_only: bool = False


class Energy(Noun, frozen=True, kw_only=True):
    """What one source counted in one window. ``joules`` None: it could not be told, ``note`` says why.

    ``seconds`` lie between its own first and last reading; ``tick_s`` is how often it was seen to change; ``limit_w``
    is what the part may take, where it tells.
    """

    name: str
    scope: str  # as of nouns.Source
    method: Literal["counter", "integrated_power"]
    joules: float | None
    seconds: Seconds
    tick_s: Seconds | None = None
    limit_w: float | None = None
    reads: int = 0
    wraps: int = 0
    note: str = ""


class Window(Noun, frozen=True, kw_only=True):
    """A stretch of work or of rest with what energy meters counted in it. ``tests``: samples that lie in it.

    ``ran``: tests that were done in it, where not every one was kept as a sample.
    """

    kind: Literal["work", "idle"]
    seconds: Seconds
    tests: int = 0
    ran: AtLeastOne | None = None
    energy: tuple[Energy, ...] = ()

    @property
    def done(self) -> int:
        """Tests that its energy was spent on."""
        return self.ran or self.tests


class Engine(Noun, frozen=True, kw_only=True):
    """What really ran, and the proof of where: read from the engine, not from what we asked for."""

    name: str
    version: str
    placement: str
    evidence: tuple[str, ...] = ()  # of where it ran, in the engine's own words
    options: dict[str, str] = {}
    details: dict[str, str] = {}
    buffers: dict[str, int] = {}  # bytes by use: weights, copies, kv, compute, logits; the engine's own report
    context_tokens: Tokens | None = None  # that it was opened for, where it computes by that and not by what is used


class Measured(Noun, frozen=True, kw_only=True, tag="measured", tag_field="status"):
    setup: Setup
    workload: Workload
    artifact: Artifact
    threads: AtLeastOne
    engine: Engine
    samples: tuple[Sample, ...]
    load_s: Seconds | None = None
    warmup_s: tuple[Seconds, ...] = ()
    readings: dict[str, float] = {}  # metric -> what the system itself counted, read once at the end
    windows: tuple[Window, ...] = ()
    memory: dict[str, int] = {}  # bytes by kind of page, as the system has them: see meters/memory.py
    planned: dict[str, int] = {}  # never measured: bytes by use, as the engine itself said before it had weights
    predicted: Need | None = None  # never measured: what the arithmetic said before the model was opened
    busy_share: float | None = None  # of the cpus that we may use, taken by other programs while this was measured
    launch: int = 0
    at: str = ""  # UTC, ISO 8601
    notes: tuple[str, ...] = ()


class Failed(Noun, frozen=True, kw_only=True, tag="failed", tag_field="status"):
    """``cause``: why there is no figure; only "failed" may have a ``kind``, which is how a process died.

    ``why``: of "unavailable", the reason without that word. ``kind`` None: nothing died, the engine or a rule refused.
    ``phase``: what was done then, ``signal``: SIGSEGV.
    """

    setup: Setup
    workload: Workload
    reason: str
    cause: Cause = "failed"
    why: str = ""
    kind: Kind | None = None
    phase: str = ""
    signal: str = ""
    engine: str = ""  # name and version of what died
    artifact: Artifact | None = None
    threads: int | None = None
    launch: int = 0
    at: str = ""


Result = Measured | Failed
Stage = Literal["warm-up", "measuring", "resting"]


class Run(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """One file, readable on its own. What is UNSET is not written, and was not known to older files."""

    schema: int = SCHEMA
    id: str
    started: str  # UTC, ISO 8601
    suite: Suite
    machine: Machine
    software: dict[str, str]
    conditions: dict[str, str] = {}
    warnings: tuple[str, ...] = ()  # what in the conditions speaks against the results
    disturbed: tuple[str, ...] | UnsetType = UNSET  # of these what busy programs did: told anew after every result
    results: tuple[Result, ...] = ()
    example: bool = False  # shipped with phibench: shown, never counted as measured here
    imported: str = ""  # the tool whose figures these are, and its build; "": measured by phibench
    imported_tool: str | UnsetType = UNSET  # the tool alone


class Opened(Noun, frozen=True, kw_only=True, tag="opened", tag_field="status"):
    engine: Engine
    load_s: float


class Progress(Noun, frozen=True, kw_only=True, tag="progress", tag_field="status"):
    """``done`` of ``total`` repetitions of this workload's ``stage``."""

    workload: Workload
    stage: Stage
    done: int
    total: int


Event = Opened | Progress | Measured | Failed
