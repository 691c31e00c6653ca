"""What came of asking: what settling measured; an answer as it is remembered, and what is different since."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from phibench.core.nouns.advice import Estimate, Level
from phibench.core.nouns.base import SCHEMA, Noun
from phibench.core.nouns.calibration import LeftOut
from phibench.core.nouns.machines import Machine
from phibench.core.nouns.setups import Setup


class Settled(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """What was measured because it could change the pick, which was ``before``; ``left_out``: what still could."""

    seconds: float
    budget_s: float
    before: Setup
    measured: tuple[Setup, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class Question(Noun, frozen=True, kw_only=True):
    """As somebody asked it: the goal, and what was said on top; nothing of how the answer is shown."""

    goal: str
    told: dict[str, float | str] = {}
    variants: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    any_build: bool = False


class UsedRun(Noun, frozen=True, kw_only=True):
    """A run that an answer rested on; with more results it is another."""

    id: str
    suite: str
    results: int


class AnswerRow(Noun, frozen=True, kw_only=True):
    """``estimates``: decode_tps and ttft_s where they are known."""

    setup: Setup
    level: Level
    estimates: dict[str, Estimate] = {}


class Answer(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """What ``recommend`` said of this machine, and all that it rested on."""

    schema: int = SCHEMA
    at: str  # UTC, ISO 8601
    phibench: str
    catalog: str  # its fingerprint
    question: Question
    machine: Machine
    runs: tuple[UsedRun, ...] = ()
    rows: Annotated[tuple[AnswerRow, ...], msgspec.Meta(min_length=1)]  # the pick first


ReasonKind = Literal["runs", "runs_gone", "memory", "disk", "speed", "engines", "version", "catalog"]


class WhyChanged(Noun, frozen=True, kw_only=True):
    kind: ReasonKind
    text: str


class Changed(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """Of two answers to one question: the pick of ``since``, the pick of now, and why; no reason: nobody knows."""

    since: str
    before: AnswerRow
    after: AnswerRow
    reasons: tuple[WhyChanged, ...]
