"""Waiting for a quiet machine, for a stated time, and saying what keeps it busy."""

from __future__ import annotations

import time
from collections.abc import Callable

from phibench.core import units
from phibench.probe import busy
from phibench.show import busy as show_busy

WAIT_S = 30.0  # a page that loads, a package that is unpacked; what takes longer is not waited for
_LOOK_S = 1.0


def until_quiet(limit_s: float, tell: Callable[[str], None]) -> busy.Busy:
    """What was seen last; goes on after ``limit_s`` whatever others do. A quiet machine costs a glance."""
    now = busy.look()
    if now.quiet is not False:
        return now
    who, end = show_busy.by(now), time.monotonic() + limit_s
    if limit_s > 0:
        tell(f"This machine is busy: {who}. Waiting up to {units.duration(limit_s)} until it is quiet ...")
    while now.quiet is False and (left := end - time.monotonic()) > 0:
        now = busy.look(min(_LOOK_S, max(left, busy.GLANCE_S)))
        who = show_busy.by(now) or who
    tell(f"Busy: {who}. What is measured now is doubtful; close that first." if now.quiet is False else "It is quiet.")
    return now
