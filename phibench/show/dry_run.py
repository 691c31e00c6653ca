"""What a dry run says: for people with the reasons below, whole rows for programs."""

from __future__ import annotations

from typing import Any

from phibench.core import units
from phibench.core.text import wrap
from phibench.show import tables


def dry_text(rows: list[dict[str, Any]], output: str, width: int | None) -> str:
    """Dry rows for people in a table with the reasons below, whole for programs."""
    caption = "Nothing was started. Opening and writing files takes extra time."
    said = tables.text(rows, output, width, _DRY_COLUMNS, caption, "phibench_dry_run")
    if output != "table":
        return said
    reasons = [f"{row['setup']}: {row['reason']}" for row in rows if row["reason"]]
    return said + "".join(f"{line}\n" for reason in reasons for line in wrap(reason, width))


def _time(row: tables.Record) -> str | None:
    if row["time_high_s"] is None:
        return None
    return f"{units.duration(row['time_low_s'])} to {units.duration(row['time_high_s'])} ({row['time_basis']})"


_DRY_COLUMNS = (
    tables.column("suite", "suite"),
    tables.column("setup", "setup"),
    tables.column("tests", "tests", rank=2),
    tables.Column(title="time", cell=_time),
    tables.column("disk_bytes", "disk to write", units.gb, right=True),
    tables.column("memory_bytes", "memory", units.gib, right=True),
    tables.column("memory_free_bytes", "free", units.gib, right=True),
    tables.column("fits", "fits", lambda fits: "yes" if fits else "no"),
)
