"""Time, disk and memory of every setup, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phibench.core.nouns import Machine, Run
from phibench.measure.tasks import Task
from phibench.predict import run_time
from phibench.predict.speed import Knowledge


def dry_rows(tasks: Sequence[Task], machine: Machine, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Time, disk and memory of every setup before anything starts; unknown is None."""
    known = Knowledge(machine, runs)
    rows = []
    for task in tasks:
        able = task.workloads()
        seconds = run_time.estimate_s(task.setup, task.suite, able, task.layers, known) if task.plan else None
        rows.append(
            {
                "setup": str(task.setup),
                "tests": ", ".join(str(w) for w in able),
                "threads": task.threads,
                "time_low_s": seconds.low if seconds else None,
                "time_high_s": seconds.high if seconds else None,
                "time_basis": seconds.basis if seconds else None,
                "disk_bytes": task.write_bytes,
                "memory_bytes": task.need.total_bytes,
                "memory_free_bytes": machine.limits.free_bytes,
                "fits": task.objection is None,
                "reason": _reason(task),
            }
        )
    return rows


def _reason(task: Task) -> str | None:
    if task.objection:
        return str(task.objection)
    return "; ".join(f"{workload}: {refusal}" for workload, refusal in task.refused) or None
