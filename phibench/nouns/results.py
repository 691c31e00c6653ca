"""What was measured, raw, and what a worker says while it measures."""

from __future__ import annotations

from phibench.nouns.base import SCHEMA, AtLeastOne, Noun, Seconds
from phibench.nouns.machines import Machine
from phibench.nouns.setups import Artifact, Setup, Suite, Workload


class Sample(Noun, frozen=True, kw_only=True):
    """One repetition, raw.

    ``arrivals_s``: arrival of every token on the host, seconds since the work was handed over. A workload
    with ``new_tokens`` = 0 has one arrival: the first token after the prompt.
    ``sampling_s``: what of that was spent on choosing tokens (argmax); None where the engine chooses inside its step.
    """

    arrivals_s: tuple[Seconds, ...]
    sampling_s: Seconds | None = None


class Engine(Noun, frozen=True, kw_only=True):
    """What really ran, and the proof of where: read from the engine, not from what we asked for."""

    name: str
    version: str
    placement: str
    evidence: tuple[str, ...] = ()  # of where it ran, in the engine's own words
    options: dict[str, str] = {}
    details: dict[str, str] = {}


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
    launch: int = 0
    at: str = ""  # UTC, ISO 8601
    notes: tuple[str, ...] = ()


class Failed(Noun, frozen=True, kw_only=True, tag="failed", tag_field="status"):
    setup: Setup
    workload: Workload
    reason: str
    artifact: Artifact | None = None
    threads: int | None = None
    launch: int = 0
    at: str = ""


Result = Measured | Failed


class Run(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """One file, readable on its own."""

    schema: int = SCHEMA
    id: str
    started: str  # UTC, ISO 8601
    suite: Suite
    machine: Machine
    software: dict[str, str]
    conditions: dict[str, str] = {}
    warnings: tuple[str, ...] = ()  # what in the conditions speaks against the results
    results: tuple[Result, ...] = ()
    example: bool = False  # shipped with phibench: shown, never counted as measured here


class Opened(Noun, frozen=True, kw_only=True, tag="opened", tag_field="status"):
    engine: Engine
    load_s: float


class Progress(Noun, frozen=True, kw_only=True, tag="progress", tag_field="status"):
    """``done`` of ``total`` repetitions of this workload's ``stage``."""

    workload: Workload
    stage: str
    done: int
    total: int


Event = Opened | Progress | Measured | Failed
