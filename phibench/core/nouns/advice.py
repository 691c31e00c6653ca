"""Numbers that know where they came from, and verdicts with their reasons."""

from __future__ import annotations

from typing import Literal

from phibench.core.nouns.base import Noun
from phibench.core.nouns.models import Build
from phibench.core.nouns.setups import Setup

Level = Literal["comfortable", "usable", "perhaps", "no"]
LossClass = Literal["original", "fine", "noticeable", "coarse"]
Basis = Literal["measured", "calibrated", "probed", "spec", "published", "exact", "assumed"]


class Grounds(Noun, frozen=True, kw_only=True):
    """What an estimate was made of, for programs; ``because`` tells people.

    ``bytes`` or ``flops`` of the step or prompt; ``rate`` per second that they pass at, ``share`` of what the device
    states; ``fixed_s`` that no rate shortens. ``device_class`` whose constants were taken, and how many hardware models
    or measurements they rest on: ``devices``. ``anchors``: measurements on this machine that were fitted.
    """

    bytes: float | None = None
    flops: float | None = None
    rate: float | None = None
    share: float | None = None
    fixed_s: float | None = None
    device_class: str = ""
    devices: int | None = None
    anchors: int = 0


class Estimate(Noun, frozen=True, kw_only=True):
    """A number that knows where it came from. ``low`` and ``high`` bound 80 %; of bytes: counted, and in all.

    ``doubt``: why what it rests on is not believed, "" where it is: then it is never the reason for a no.
    """

    value: float
    low: float
    high: float
    basis: Basis
    because: str
    benchmark: str = ""  # of a published score
    grounds: Grounds | None = None
    doubt: str = ""


class Reason(Noun, frozen=True):
    """A sentence with its numbers, and what to type to settle it."""

    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


class Verdict(Noun, frozen=True, kw_only=True):
    """Yes, no or not known, each with its reasons in words; ``doubted``: some hang on figures that are not believed.

    ``missed``: the largest factor by which a limit is missed, at the worse end of what was not measured; 1 where all
    are kept. ``overflows``: the factor by which memory or disk are too small, 1 where it fits.
    """

    setup: Setup
    estimates: dict[str, Estimate] = {}
    objections: tuple[str, ...] = ()
    unknowns: tuple[Reason, ...] = ()
    hard: int = 0  # objections that no amount cures
    holes: int = 0  # what nobody knows of it
    missed: float = 1.0
    overflows: float = 1.0
    doubted: bool = False
    comfortable: bool = False
    discomfort: str = ""  # of one that is usable: why it is no comfort
    build: Build | None = None  # where to get it; None: nobody publishes it

    @property
    def verdict(self) -> Literal["yes", "no", "unknown"]:
        if self.objections:
            return "no"
        return "unknown" if self.unknowns else "yes"

    @property
    def level(self) -> Level:
        """How well it serves."""
        if self.verdict == "yes":
            return "comfortable" if self.comfortable else "usable"
        return "perhaps" if self.verdict == "unknown" else "no"


# Bounds of llama.cpp's own table, where it has gaps: nat of mean KL divergence.
_LOSS_CLASSES: tuple[tuple[float, LossClass], ...] = ((0.006, "original"), (0.04, "fine"), (0.1, "noticeable"))


def loss_class(kld: float) -> LossClass:
    """What a loss of so many nat is to a reader: as the original, fine, noticeable or coarse."""
    return next((name for most, name in _LOSS_CLASSES if kld <= most), "coarse")


def exact(value: float, basis: Basis, because: str, benchmark: str = "") -> Estimate:
    return Estimate(value=value, low=value, high=value, basis=basis, because=because, benchmark=benchmark)
