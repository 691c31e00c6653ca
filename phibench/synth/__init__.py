"""Synthetic weights: the bytes of a plan, without a download. One module per format that is written to disk.

Another process writes them, the only one that loads an engine's quantizer: it may crash, and no two engines meet.
A format without a module here is filled in the memory of the process that runs it, as torch's models are.

In: variant, quantization, format, layers. Out: an artifact, from the cache or written now.
"""

from __future__ import annotations

from collections.abc import Callable

from phibench.catalog.plans import plan
from phibench.core.nouns import Artifact, Variant
from phibench.synth import cache, messages, writing
from phibench.synth.artifacts import Progress, artifact


def ensure(
    variant: Variant, quantization: str, fmt: str, layers: int | None = None, progress: Progress | None = None,
    oom_kills: Callable[[], int | None] = lambda: None,
) -> Artifact:  # fmt: skip
    """The synthetic files of a setup, from the cache or written now by a process of its own.

    ``oom_kills``: how often this machine has ended a process of our group for want of memory, where it is known.
    Raises PhibenchError (exit 1) when a package is missing, disk or cache limit are too small, or that process died
    (DiedError).
    """
    writer = cache.writer(fmt)
    if writer is None:
        return artifact(plan(variant, quantization, layers, fmt=fmt), path="")
    if path := writer.cached(variant, quantization, layers):
        cache.touch(path)
        return artifact(plan(variant, quantization, layers, fmt=fmt), str(path))
    order = messages.Order(variant=variant, quantization=quantization, format=fmt, layers=layers)
    return writing.ask(order, progress, oom_kills)


def write_bytes(variant: Variant, quantization: str, fmt: str, layers: int | None = None) -> int:
    """What ensure() would write: 0 when it is in the cache, or never on disk."""
    writer = cache.writer(fmt)
    if writer is None or writer.cached(variant, quantization, layers) is not None:
        return 0
    return plan(variant, quantization, layers, fmt=fmt).file_bytes
