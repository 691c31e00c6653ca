"""One candidate as rules see it, and what a rule can answer."""

from __future__ import annotations

from collections.abc import Callable

from phibench.backends.contract import Backend
from phibench.core.nouns import (
    Build,
    Device,
    Estimate,
    Goal,
    Machine,
    Need,
    Noun,
    Quantization,
    Reason,
    Setup,
    Variant,
)


class No(Reason, frozen=True):
    """An objection that no amount cures."""


class Missed(No, frozen=True):
    """A no that another limit, more memory or a faster machine would turn; ``by``: the factor that it is missed by."""

    by: float = 1.0


class Unknown(Reason, frozen=True):
    """Something that nobody knows."""


class Perhaps(Unknown, frozen=True):
    """What holds in the middle of its interval, not at the worse end: missed ``by`` this factor there."""

    by: float = 1.0


class Doubted(Perhaps, frozen=True):
    """A limit that cannot be judged because what is known of the machine's speed is not believed."""


Answer = No | Unknown | None
Rule = Callable[["Case"], Answer]


class Case(Noun, frozen=True, kw_only=True):
    """One candidate with all that a rule may look at; what the user asked for on top is already in the goal.

    ``no_file`` says why there is no plan, ``need`` is None then. ``build``: where to get it.
    """

    machine: Machine
    device: Device
    goal: Goal
    variant: Variant
    quantization: Quantization
    backend: Backend
    setup: Setup
    estimates: dict[str, Estimate]
    build: Build | None = None
    need: Need | None = None
    no_file: str | None = None
