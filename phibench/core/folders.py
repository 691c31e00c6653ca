"""Where phibench keeps things: what ships with it, its cache, and the user's results."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from phibench.core.errors import PhibenchError


def expanded(name: str) -> Path:
    """The path with a leading ``~`` filled in; as it is where no user has that name."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def data_dir(name: str) -> Path:
    """``suites`` or ``dashboard``: beside the package in a checkout, inside it in a wheel."""
    packaged = Path(__file__).parents[1] / "_data" / name
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / name


def home() -> Path | None:
    """None where nothing tells it: a container may run under the number of no user, without ``HOME``."""
    with contextlib.suppress(RuntimeError):
        return Path.home()
    return None


def cache_dir() -> Path:
    """``$PHIBENCH_CACHE``, else ``phibench`` under the XDG cache (absolute paths only, as XDG says).

    Raises PhibenchError where there is no home to put it in.
    """
    if own := os.environ.get("PHIBENCH_CACHE"):
        return expanded(own)
    xdg, at = Path(os.environ.get("XDG_CACHE_HOME", "")), home()
    if not xdg.is_absolute() and not at:
        raise PhibenchError("this user has no home folder to keep a cache in; set PHIBENCH_CACHE to a folder")
    return (xdg if xdg.is_absolute() or not at else at / ".cache") / "phibench"


def results_dir(flag: str | None = None) -> Path:
    """``--results DIR``, else ``$PHIBENCH_RESULTS``, else ``./results``."""
    return expanded(flag or os.environ.get("PHIBENCH_RESULTS") or "results")
