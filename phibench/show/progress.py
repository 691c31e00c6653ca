"""What a person sees on stderr while a run goes on: stage, tokens, time left; plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from phibench.core import units
from phibench.core.nouns import Event, Failed, Job, Measured, Opened, Progress, Workload

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_DECODE_WEIGHT = 4  # a decoded token takes longer than a prefilled one; only the first guess of time left


class ProgressDisplay:
    """A held terminal: use it in a ``with``. ``write`` follows a file being written, ``on_event`` the workers."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self._live = sys.stderr.isatty()
        self._total = sum(_weight(w) for w in workloads)
        self._tokens = sum(_tokens(w) for w in workloads)
        self._done = 0.0
        self._started: float | None = None
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._file: TaskID | None = None
        self._last = ""
        self._wrote = False

    def __enter__(self) -> Self:
        if self._live:
            self._bars = _bars(self._left)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def write(self, done: int, total: int) -> None:
        """A synthetic file grows."""
        if self._bars:
            if self._file is None:
                self._file = self._bars.add_task("writing synthetic weights", total=total, unit="bytes")
            self._bars.update(self._file, completed=done, total=total)
            if done >= total:
                self._bars.remove_task(self._file)
                self._file = None
        elif done >= total and not self._wrote:
            self._wrote = True
            self._say(f"wrote {units.gb(total)} of synthetic weights")
        elif done < total:
            self._wrote = False

    def watch(self, seconds: float) -> None:
        """The machine is watched before the first test; what takes no time is not told."""
        if seconds >= 1:
            self._say(f"looking at the machine, {units.duration(seconds)}")

    def on_event(self, job: Job, launch: int, event: Event) -> None:
        """An event of a worker."""
        many = f"launch {launch + 1}/{job.suite.launches} · " if job.suite.launches > 1 else ""
        if isinstance(event, Opened):
            self._started = self._started or time.monotonic()
            self._say(f"{job.setup}: opened in {units.duration(event.load_s)}; {event.engine.placement}")
        elif isinstance(event, Progress):
            share = event.done / event.total if event.stage == "measuring" else 0.0
            self._show(
                f"{many}{event.workload} · {event.stage} {min(event.done + 1, event.total)}/{event.total}",
                self._done + _weight(event.workload) * share,
            )
        elif isinstance(event, Measured | Failed):
            self._done += _weight(event.workload)
            if isinstance(event, Failed):
                self._say(f"{job.setup} {event.workload}: failed: {event.reason}")

    def _show(self, text: str, done: float) -> None:
        if self._bars is None:
            if text != self._last:
                self._say(text)
            self._last = text
            return
        if self._task is None:
            self._task = self._bars.add_task(text, total=self._total, unit="tokens", tokens=self._tokens)
        self._bars.update(self._task, description=text, completed=done)

    def _left(self, done: float) -> str:
        if not self._started or not done:
            return "time left: measuring"
        left = (time.monotonic() - self._started) / done * (self._total - done)
        return f"{units.duration(max(left, 1))} left"

    def _say(self, text: str) -> None:
        if self._bars:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _weight(workload: Workload) -> float:
    """A depth is filled as a prompt is computed, once: about a repetition's worth."""
    return workload.depth + workload.prompt_tokens + _DECODE_WEIGHT * workload.new_tokens


def _tokens(workload: Workload) -> int:
    return workload.prompt_tokens + workload.new_tokens


def _bars(left: Any) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            if task.fields.get("unit") == "bytes":
                return Text(f"{units.gb(task.completed)} of {units.gb(task.total or 0)}")
            share = task.completed / task.total if task.total else 0
            tokens = task.fields.get("tokens", 0)
            return Text(f"{round(share * tokens)}/{tokens} tok · {left(task.completed)}")

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        Amount(),
        console=Console(stderr=True),
        transient=True,
    )
