"""The plan of a model: its tensors with types and bytes, without a file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar, cast

from phibench.catalog.tensor_types import MetaValue, Tensor
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Noun, Variant

T = TypeVar("T")


_TABLES = ("cos_cache", "sin_cache")  # a token reads one row


_CONSTANTS = ("rope_factors", *_TABLES)  # in files, not learnt


class NoFiles(Noun, frozen=True, kw_only=True):
    """Why there are no files of a variant, in words; ``remedy``, with the ``{backend}`` for the format ``instead``.

    ``unknown``: nobody knows how it is built, so whoever knows of its own why it cannot run says more.
    """

    reason: str
    remedy: str = ""
    instead: str = ""
    unknown: bool = False

    def __str__(self) -> str:
        return self.reason


class NoFilesError(PhibenchError):
    def __init__(self, why: NoFiles) -> None:
        super().__init__(why.reason)
        self.why = why


class Plan(Noun, frozen=True, kw_only=True, dict=True):
    """A model's files that need not exist; ``layers`` of ``of_layers`` (fewer: a slice with true widths).

    ``tensors`` are logical: a quantized matrix is one, its scales counted in its bytes. ``facts`` are what the
    arithmetic of memory asks of the files: ``kv_type``, ``logits`` ("last" or "all": of the prompt's tokens).
    """

    variant: str
    format: str
    quantization: str
    layers: int
    of_layers: int
    tensors: tuple[Tensor, ...]
    file_bytes: int  # of the synthetic files, no tokenizer
    embedding: str  # name of the tensor; of one that is not the head, too, a token reads one row
    head: str
    experts_share: float = 1.0  # of the expert tensors, what one token reads
    tokenizer_bytes: int = 0
    metadata: dict[str, MetaValue] = {}
    facts: dict[str, str] = {}

    @property
    def tied(self) -> bool:
        return self.embedding == self.head

    @cached_property
    def weights_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Weights as model cards count them: without the rope factors and tables, which are constants."""
        return sum(math.prod(t.shape) for t in self.tensors if not t.name.startswith(_CONSTANTS))

    @property
    def histogram(self) -> dict[str, int]:
        return dict(Counter(tensor.type for tensor in self.tensors))

    @property
    def disk_bytes(self) -> int:
        """What published files weigh: the same with the tokenizer's share (0 where that is not known)."""
        return self.file_bytes + self.tokenizer_bytes

    @property
    def read_bytes_per_token(self) -> float:
        """What one decode step streams: of an untied embedding nothing (one row), of the experts those used."""
        return sum(t.bytes * self.share(t) for t in self.tensors)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, asked once of this plan: what walks over all tensors is asked hundreds of times."""
        made: dict[Any, Any] = self.__dict__
        if key not in made:
            made[key] = make()
        return cast("T", made[key])

    def share(self, tensor: Tensor) -> float:
        """The part of a tensor that one decode step reads."""
        return share(tensor.name, "" if self.tied else self.embedding, self.experts_share)


def share(name: str, looked_up: str, experts_share: float) -> float:
    """The part of the tensor of this name that one decode step reads; ``looked_up``: of which it reads a row."""
    if name == looked_up or name.startswith(_TABLES):
        return 0.0
    return experts_share if "_exps." in name else 1.0


def check_layers(variant: Variant, layers: int | None) -> int:
    """How many layers that asks for. Raises PhibenchError (exit 2) for more than there are, or none."""
    assert variant.shape is not None
    most = variant.shape.layers
    if layers is not None and not 1 <= layers <= most:
        raise PhibenchError(f"{variant.id} has {most} layers; --layers {layers} is not 1 to {most}")
    return layers or most
