"""Answers of a backend that has nothing to say: it takes from here what it cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phibench.core.nouns import Finding, Processor, Shape, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan


def advice(processor: Processor, features: tuple[str, ...]) -> Finding | None:
    """Its builds do not say which instructions they use."""
    del processor, features
    return None


def build_note(processor: Processor, features: tuple[str, ...]) -> str:
    del processor, features
    return ""


def gpu_build(kind: str) -> str:
    del kind
    return ""


def planned(plan: Plan, shape: Shape, workload: Workload, options: dict[str, str]) -> dict[str, int]:
    """It plans nothing ahead."""
    del plan, shape, workload, options
    return {}


def recomputed_at(shape: Shape) -> int | None:
    """Nowhere."""
    del shape
    return None
