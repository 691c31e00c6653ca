"""What is told of synthetic files."""

from __future__ import annotations

from collections.abc import Callable

from phibench.catalog.plans.base import Plan
from phibench.core.nouns import Artifact

Progress = Callable[[int, int], None]  # done bytes, total bytes


def artifact(wanted: Plan, path: str) -> Artifact:
    """What is told of synthetic files at ``path``; "": of weights that exist in memory only."""
    return Artifact(
        path=path,
        bytes=wanted.file_bytes if path else wanted.weights_bytes,
        weights="synthetic",
        layers=wanted.layers if wanted.layers < wanted.of_layers else None,
        tensor_types=wanted.histogram,
        parameters=wanted.parameters,
        facts=wanted.facts,
    )
