"""What the commands share: options, and how they print. stdout carries data only; notes go to stderr."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phibench import __version__
from phibench.core.errors import PhibenchError, nearest

if TYPE_CHECKING:
    from phibench.core.nouns import Machine, Run

_COLUMN = 30  # of the help, for flags: click's own limit; a longer one has its text on the next line
results = click.option("--results", metavar="DIR", help="Folder of runs [$PHIBENCH_RESULTS, else ./results].")
context = click.option("--context", metavar="TOKENS", help="Context length, for example 8k.")


class _Commands(click.Group):
    """A misspelled command names the nearest right one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            guess = nearest(args[0], self.commands)
            hint = f"did you mean '{guess}'?" if guess else f"there are: {', '.join(self.commands)}"
            raise PhibenchError(f"unknown command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)


class Grouped(click.Command):
    """Its help shows options under headings: ``groups``, heading -> names of parameters, each in one of them."""

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        lines = {p.name or "": line for p in shown if (line := p.get_help_record(ctx))}
        rest = [name for name in lines if not any(name in names for names in self.groups.values())]  # --help
        for title, names in {**self.groups, "More": rest}.items():
            with formatter.section(title):  # padded: every group has its texts in the same column
                formatter.write_dl([(flag.ljust(_COLUMN), text) for flag, text in (lines[name] for name in names)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="phibench")
def cli() -> None:
    """Which Phi fits this machine: measures, predicts and recommends variant, quantization and backend.

    Exit codes: 0 ok, 1 a measurement or a file failed, 2 bad input, 3 nothing fits, 4 regression, 5 too busy to say,
    130 interrupted.
    """


class _Outputs(click.Choice):  # type: ignore[type-arg]  # click 8.1 cannot be asked for Choice[str]
    """What ``show.outputs`` lists, asked when a command uses or explains it: ``phibench --help`` imports nothing."""

    def __init__(self) -> None:
        self.case_sensitive = False

    @functools.cached_property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]  # an attribute that click sets in __init__
        from phibench.show.outputs import OUTPUTS

        return OUTPUTS


def output(command: Any) -> Any:
    command = click.option("--out", metavar="FILE", help="Write the data here instead of stdout.")(command)
    return click.option("-o", "--output", type=_Outputs(), default="table", show_default=True)(command)


def machine_of(path: str | None) -> Machine:
    from phibench.core import files
    from phibench.core.nouns import Machine
    from phibench.machine import data_sheet, inventory

    if not path:
        return inventory.this_machine()
    machine = data_sheet.with_memory(files.read_strict(Path(path), Machine))
    for device in machine.devices:
        if device.memory_bytes is None and device.kind not in ("cpu", "npu"):
            note(f"{path}: the memory size of {device.kind} '{device.name}' is not known; add its memory_bytes")
    return machine


def stored_runs(folder: str | None) -> Sequence[Run]:
    """Every run that can be read; the others are named on stderr."""
    from phibench.core import folders, run_files

    runs, skipped = run_files.read_runs(folders.results_dir(folder))
    for line in skipped:
        note(f"skipped: {line}")
    return runs


def width(out: str | None) -> int | None:
    """Columns of the terminal; None where the data goes into a file or a pipe, which has no width."""
    import shutil

    return shutil.get_terminal_size().columns if not out and sys.stdout.isatty() else None


def emit(text: str, out: str | None) -> None:
    if out:
        from phibench.core import files

        files.write_text(Path(out), text.rstrip("\n") + "\n")
        return
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line on stderr, which may quote a file from somebody else."""
    from phibench.core.text import plain

    print(plain(text), file=sys.stderr)
