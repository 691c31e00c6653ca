"""A row of results: what the launches of one test say together, and what people are told of it."""

from __future__ import annotations

from typing import Any, Literal

from phibench.core.nouns.base import Cause, Noun
from phibench.core.nouns.models import Need
from phibench.core.nouns.results import Energy, Engine, Run
from phibench.core.nouns.setups import Artifact, Setup, Workload

# Who says it: the run's file, or what was found in its samples when they were read again.
NoteKind = Literal["run", "cliff", "sustained", "disk", "energy", "knee", "answer"]


class Spread(Noun, frozen=True, kw_only=True):
    """A median with its range (few samples) or its 95 % interval (several worker launches)."""

    median: float
    low: float
    high: float
    kind: Literal["range", "interval"]
    count: int


class Note(Noun, frozen=True, kw_only=True):
    """A line for people; what a program wants to know of it stands beside the text."""

    kind: NoteKind
    text: str
    metric: str = ""  # that it is about, where it is about one


class Row(Noun, frozen=True, kw_only=True):
    """One test, all its launches together; docs/results.md describes the keys that formats.flat() makes of it.

    What is said of the engine, of memory and of placement is said by the first launch that was measured.
    """

    run: Run
    setup: Setup
    workload: Workload
    artifact: Artifact | None
    threads: int | None
    status: Literal["ok", "failed"]
    cause: Cause | None = None  # of the first failure
    reason: str | None = None  # of all failures, also where other launches were measured
    why: str | None = None  # the reason for who names the cause already
    engine: Engine | None = None
    launches: int = 0
    windows: int | None = None
    wins: tuple[str, ...] = ()  # metrics
    contest: tuple[str, ...] = ()  # lines
    sampling_s: float | None = None
    notes: tuple[Note, ...] = ()
    memory: dict[str, int] = {}
    planned: dict[str, int] = {}
    predicted: Need | None = None
    energy: tuple[Energy, ...] = ()
    energy_sources: str | None = None  # what its figures were read from, and how
    metrics: dict[str, Spread | None] = {}  # those that the suite claims; None: this test does not tell
    llama_bench: dict[str, Any] = {}  # every field of llama-bench, in its order

    @property
    def outcome(self) -> Literal["ok", "failed", "unavailable"]:
        """``unavailable``: no failure, but nothing that this machine could measure."""
        return "unavailable" if self.status == "failed" and self.cause == "unavailable" else self.status

    @property
    def weights(self) -> str | None:
        return self.artifact.weights if self.artifact else None

    @property
    def layers(self) -> int | None:
        return self.artifact.layers if self.artifact else None

    @property
    def buffers(self) -> dict[str, int]:
        return self.engine.buffers if self.engine else {}

    def median(self, metric: str) -> float | None:
        spread = self.metrics.get(metric)
        return spread.median if spread else None
