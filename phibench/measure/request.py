"""What ``phibench run`` may be asked for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from phibench.core.nouns import Noun

ALL = "all"  # every backend that is installed and can; and every suite of the mission


class RunRequest(Noun, frozen=True, kw_only=True):
    """All that one command asks for. None, or empty: as the suite, the backend or this machine has it.

    ``suite``: a name, a file or ALL. ``models``: names, or one file or folder. ``axes``: field of a suite -> values.
    ``options``: of a backend, each with the values that setups are made for.
    """

    suite: str
    models: tuple[str, ...]
    backends: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    axes: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    pairs: tuple[tuple[int, int], ...] = ()
    repetitions: int | None = None
    launches: int | None = None
    seconds: float | None = None
    options: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    layers: int | None = None
    results: str | None = None  # folder
    quick: bool = False
    resume: bool = False
    dry_run: bool = False
    force: bool = False

    @property
    def every_suite(self) -> bool:
        return self.suite.lower() == ALL


def every(backends: Sequence[str]) -> bool:
    """Whether these names mean all that are installed."""
    return [name.lower() for name in backends] == [ALL]
