"""What memory a model takes while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from phibench.meters import MemoryMeter, Seen
from phibench.nouns import Job


@contextlib.contextmanager
def opened(job: Job) -> Iterator[MemoryMeter]:
    """A meter of this process that watches from now on."""
    del job
    yield _Meter()


class _Meter:
    def finish(self, again: Callable[[], object]) -> Seen:
        del again
        return Seen()
