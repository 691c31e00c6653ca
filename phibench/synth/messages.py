"""What a writer and the process that asked for it say to each other, a line each."""

from __future__ import annotations

from phibench.core.nouns import Artifact, Noun, Variant


class Order(Noun, frozen=True, kw_only=True):
    """What is to be written: one line on the writer's stdin."""

    variant: Variant
    quantization: str
    format: str
    layers: int | None = None


class Wrote(Noun, frozen=True, kw_only=True, tag="wrote", tag_field="status"):
    done: int
    total: int


class Made(Noun, frozen=True, kw_only=True, tag="made", tag_field="status"):
    artifact: Artifact


class Refused(Noun, frozen=True, kw_only=True, tag="refused", tag_field="status"):
    """A PhibenchError of the writer."""

    reason: str
    exit_code: int


Event = Wrote | Made | Refused
