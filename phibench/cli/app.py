"""Parse, call one function, print. stdout carries data only; progress and notes go to stderr."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from phibench import __version__
from phibench.core.errors import FAILED, INTERRUPTED, NOTHING_FITS, PhibenchError, nearest

if TYPE_CHECKING:
    from phibench.core.nouns import Machine, Run

_OUTPUTS = ("table", "md", "csv", "json", "jsonl", "sql")


class _Commands(click.Group):
    """A misspelled command names the nearest right one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            guess = nearest(args[0], self.commands)
            hint = f"did you mean '{guess}'?" if guess else f"there are: {', '.join(self.commands)}"
            raise PhibenchError(f"unknown command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)


def _output(*names: str) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        command = click.option("--out", metavar="FILE", help="Write the data here instead of stdout.")(command)
        choice = click.Choice(names, case_sensitive=False)
        return click.option("-o", "--output", type=choice, default="table", show_default=True)(command)

    return add


_results = click.option("--results", metavar="DIR", help="Folder of runs [$PHIBENCH_RESULTS, else ./results].")
_context = click.option("--context", metavar="TOKENS", help="Context length, for example 8k.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="phibench")
def cli() -> None:
    """Which Phi fits this machine: measures, predicts and recommends variant, quantization and backend.

    Exit codes: 0 ok, 1 a measurement or a file failed, 2 bad input, 3 nothing fits, 4 regression, 130 interrupted.
    """


@cli.command()
@click.option("-b", "--backend", help="Compare backends (comma list), or all that are installed  [default: llama_cpp]")
@click.option("--before", "part", flag_value="before", help="Only the first advice, which needs no engine.")
@click.option("--after", "part", flag_value="after", help="Without the first advice, where it was printed already.")
@_results
def quickstart(backend: str | None, part: Literal["before", "after"] | None, results: str | None) -> None:
    """Say which Phi should fit here, measure one, say what that changed and what is next."""
    from phibench.cli import quickstart as first
    from phibench.core import folders, units

    wanted = units.names(backend, "--backend") if backend else ()
    sys.exit(first.quickstart(folders.results_dir(results), wanted, part))


@cli.command()
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.option("--out", metavar="FILE", help="Write the data here instead of stdout.")
@click.option("--save", metavar="FILE", help="Write the machine here (.toml or .json), for --machine FILE.")
@click.option("--quick", is_flag=True, help="Measure nothing; figures that are known are shown.")
@click.option("--anew", is_flag=True, help="Measure again what is known from earlier.")
def probe(output: str, out: str | None, save: str | None, quick: bool, anew: bool) -> None:
    """What this machine is, for running a Phi."""
    import shutil

    from phibench.core import files
    from phibench.machine import inventory
    from phibench.show import machine as show_machine

    if save:
        files.check_machine_name(Path(save))
    machine = inventory.this_machine(
        bandwidth=not quick, full=True, remeasure=anew, on_progress=lambda what: _note(f"measuring: {what}")
    )
    if save:
        files.write_machine(Path(save), machine)
    columns = shutil.get_terminal_size().columns
    _emit(files.json_text(machine) if output == "json" else show_machine.text(machine, min(columns, 120)), out)


@cli.command()
@click.option("--out", metavar="FILE", help="Write the report here instead of stdout.")
@click.option("-o", "--output", type=click.Choice(("md", "json")), default="md", show_default=True)
def doctor(out: str | None, output: str) -> None:
    """What is wrong or slow here for a Phi, and what to do: a report for a bug report."""
    from phibench.core import files
    from phibench.machine import doctor as rules
    from phibench.machine import inventory, software
    from phibench.probe import conditions
    from phibench.show import doctor as show_doctor
    from phibench.verify import selftest

    machine = inventory.this_machine(full=True, on_progress=lambda what: _note(f"measuring: {what}"))
    machine = selftest.anew(machine, _note)
    _note("looking at the machine, 2 s")
    now = conditions.look(busy_s=min(2.0, conditions.LOOK_S), gpu=True)
    if output == "json":
        _emit(files.json_text(rules.findings(machine, now)), out)
    else:
        _emit(show_doctor.report(machine, now, software.software()), out)


@cli.command()
@click.argument("variant", required=False)
@_context
@_output(*_OUTPUTS)
def models(variant: str | None, context: str | None, output: str, out: str | None) -> None:
    """The Phi family: sizes, KV cache, licence, abilities."""
    from phibench.core import units
    from phibench.show import models as show_models

    _emit(show_models.text(variant, units.tokens(context) if context else None, output, _width(out)), out)


@cli.command()
@click.argument("suite", default="latency")
@click.option(
    "-m",
    "--model",
    default="phi-4-mini-instruct",
    show_default=True,
    help="Variants (comma list), a .gguf file, or a folder with a model for onnxruntime-genai or transformers.",
)
@click.option("-q", "--quant", help="Quantizations (comma list)  [default: Q4_K_M, int4, bf16, by backend]")
@click.option("-b", "--backend", help="Backends (comma list), or all that are installed  [default: llama_cpp]")
@click.option("-dev", "--device", default="cpu", show_default=True, help="Devices (comma list): cpu, cuda:0, ...")
@click.option("-p", "--n-prompt", help="Prompt tokens: 512 or 128,512 or 128-2048*2; 0 skips.")
@click.option("-n", "--n-gen", help="Generated tokens; 0 skips.")
@click.option("-pg", "pair", multiple=True, metavar="PP,TG", help="A prompt and its answer in one test.")
@click.option("-d", "--n-depth", help="Tokens already in the KV cache.")
@click.option("-r", "--repetitions", type=int, help="Timed repetitions of every test.")
@click.option("--launches", type=int, help="Fresh worker processes; from 3 on, intervals instead of ranges.")
@click.option("-t", "--threads", help="Threads [physical cores that this process may use].")
@click.option("-ngl", "--n-gpu-layers", help="Layers on the GPU.")
@click.option("-fa", "--flash-attn", help="on, off or auto.")
@click.option("-ctk", "--cache-type-k", help="Type of the K cache: f16, q8_0, ...")
@click.option("-ctv", "--cache-type-v", help="Type of the V cache.")
@click.option("-ub", "--n-ubatch", help="Micro-batch.")
@click.option("--n-batch", help="Batch (llama-bench's -b).")
@click.option("--batches", help="Equal sequences at once: 1,2,4 ...")
@click.option("--context", help="Tokens that the KV cache is made for  [as long as the test].")
@click.option("--seconds", type=float, help="How long energy and sustained measure each test.")
@click.option("--quick", is_flag=True, help="A short form of the suite, marked short.")
@click.option("--layers", type=int, help="Only a slice of N layers, at true widths.")
@_results
@click.option("--resume", is_flag=True, help="Go on with the newest run of the same suite.")
@click.option("--dry-run", is_flag=True, help="Time, disk and memory of every setup; nothing starts.")
@click.option("--force", is_flag=True, help="Run even what does not fit into memory or fails its self-test.")
@click.option("--backend-option", "extra", multiple=True, metavar="KEY=VALUE", help="Any other option of the backend.")
@_output(*_OUTPUTS)
def run(**flags: Any) -> None:
    """Run SUITE over setups: latency, throughput, memory, energy, sustained, load, context, quick, a .toml file, or
    all (the first five, on every backend)."""
    from phibench.cli import run as cli_run

    output, out = flags["output"], flags["out"]
    request = cli_run.request_from(flags)
    sys.exit(cli_run.run_request(request, output, write_out=lambda text: _emit(text, out), width=_width(out)))


@cli.command()
@click.argument("paths", nargs=-1, metavar="[FILE]...")
@_results
@_output(*_OUTPUTS)
def results(paths: tuple[str, ...], results: str | None, output: str, out: str | None) -> None:
    """Show stored runs: all, or the FILEs given."""
    from phibench.core import folders, run_files
    from phibench.show import results as show_results

    runs = tuple(run_files.read_run(Path(p)) for p in paths) if paths else _runs(results)
    if not runs:
        _note(f"no runs in {folders.results_dir(results)}; type: phibench run quick")
    _emit(show_results.FORMATS[output](show_results.rows(runs), _width(out)), out)


@cli.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--out", metavar="FILE", default="report.html", show_default=True, help="The page.")
@_results
def report(runs: tuple[str, ...], out: str, results: str | None) -> None:
    """A page with charts, to be mailed.

    Each RUN is a file, an id or its beginning, or latest.
    """
    from phibench.core import files, folders
    from phibench.show import report as show_report

    found = show_report.chosen(runs, folders.results_dir(results))
    files.write_text(Path(out), show_report.page(found))
    _note(f"report: {out}")


@cli.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--fail-on-regression", metavar="SHARE", help="Leave with 4 where B is worse by more: 5% or 0.05.")
@_results
@_output(*_OUTPUTS)
def compare(
    first: str, second: str, fail_on_regression: str | None, results: str | None, output: str, out: str | None
) -> None:
    """Is B faster than A, slower, or neither?

    Each is a run (file or id), a machine's folder, PACKAGE==VERSION, or a setup.
    """
    from phibench.compare import comparison as comparing
    from phibench.compare.selection import select_both
    from phibench.core import folders
    from phibench.show import comparison

    most = comparing.share(fail_on_regression) if fail_on_regression else None
    (a, b), skipped = select_both(first, second, folders.results_dir(results))
    for line in skipped:
        _note(f"skipped: {line}")
    found = comparing.compare(a, b)
    _emit(comparison.text(a, b, found, output, _width(out)), out)
    if output not in ("table", "md"):
        for line in found.notes:
            _note(line)
    if most is not None and (code := comparing.exit_code(found.rows, most)):
        sys.exit(code)


@cli.command()
@click.argument("variant", required=False)
@click.option("-m", "--model", "models", multiple=True, metavar="FILE", help="Files of one model, to be compared.")
@click.option("-b", "--backend", help="Backends (comma list).  [default: all that are installed]")
@click.option("-q", "--quant", help="Quantizations (comma list).")
@click.option("-dev", "--device", default="cpu", show_default=True, help="cpu, cuda:0, ...")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and prompts.")
@_output(*_OUTPUTS)
def verify(
    variant: str | None, models: tuple[str, ...], backend: str | None, quant: str | None, device: str, seed: int,
    output: str, out: str | None,
) -> None:  # fmt: skip
    """Do backends and precisions give the same answer?"""
    from phibench.cli import verify as command

    asked = (variant, models, backend, quant, device, seed, output)
    sys.exit(command.verify(*asked, write_out=lambda text: _emit(text, out), width=_width(out)))


@cli.command("import")
@click.argument("file", metavar="FILE")
@click.option("-m", "--model", metavar="VARIANT", help="Which Phi it was, where the file does not tell.")
@click.option("-q", "--quant", metavar="QUANT", help="Its quantization, where the file does not tell.")
@click.option("-dev", "--device", help="Where it ran, of llama-batched-bench: cpu, cuda:0, ...")
@click.option("--machine", metavar="FILE", help="The machine it was measured on (.toml or .json), if not this one.")
@_results
@_output(*_OUTPUTS)
def import_(
    file: str, model: str | None, quant: str | None, device: str | None, machine: str | None, results: str | None,
    output: str, out: str | None,
) -> None:  # fmt: skip
    """Numbers of llama-bench become a run.

    FILE: JSON or JSON lines of llama-bench, or JSON lines of llama-batched-bench.
    """
    from phibench.core import folders
    from phibench.imports import importer
    from phibench.imports.translate import ImportRequest
    from phibench.show import results as show_results

    asked = ImportRequest(
        variant=model, quantization=quant, device=device, machine=_machine(machine) if machine else None
    )
    runs = importer.run_import(Path(file), asked, folders.results_dir(results), _note)
    _emit(show_results.FORMATS[output](show_results.rows(runs), _width(out)), out)


@cli.command()
@click.option("--goal", default="chat", show_default=True, help="chat, code, math, reasoning, multilingual, tools, ...")
@_context
@click.option("--min-tps", type=float, help="At least this many generated tokens per second.")
@click.option("--max-ttft", type=float, help="At most this many seconds until the first token.")
@click.option("--thinking-tokens", type=int, help="Assumed thinking tokens of reasoning variants.")
@click.option("--machine", metavar="FILE", help="A described machine (.toml or .json) instead of this one.")
@click.option("--top", default="5", show_default=True, help="How many, or 'all'.")
@_results
@_output(*_OUTPUTS)
def recommend(
    goal: str, context: str | None, min_tps: float | None, max_ttft: float | None, thinking_tokens: int | None,
    machine: str | None, top: str, results: str | None, output: str, out: str | None,
) -> None:  # fmt: skip
    """Which Phi fits a machine, and why not the others."""
    from phibench import catalog
    from phibench.advise.recommend import advise, fits
    from phibench.core import units
    from phibench.show import advice

    count = _top(top)
    wanted = catalog.goal(goal)
    place = _machine(machine)
    verdicts = advise(
        place, wanted, _runs(results), context=units.tokens(context) if context else None,
        min_tps=min_tps, max_ttft=max_ttft, thinking_tokens=thinking_tokens,
    )  # fmt: skip
    tokens = units.tokens(context) if context else wanted.context
    _emit(advice.text(place, wanted, tokens, verdicts, count, output, _width(out)), out)
    if not fits(verdicts):
        _note("nothing fits: take a shorter --context, looser limits, or more memory")
        sys.exit(NOTHING_FITS)


@cli.command()
@_results
@click.option("--port", type=int, help="Port on 127.0.0.1 [8501, or the next free one].")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def dashboard(results: str | None, port: int | None, no_browser: bool) -> None:
    """Results and advice in the browser (127.0.0.1)."""
    from phibench.cli import dashboard as served
    from phibench.core import folders

    sys.exit(served.serve(folders.results_dir(results), port, not no_browser))


@cli.command()
@click.option("--clear", is_flag=True, help="Delete all synthetic files.")
@_output(*_OUTPUTS)
def cache(clear: bool, output: str, out: str | None) -> None:
    """What synthetic files occupy."""
    from phibench.core import units
    from phibench.show import tables
    from phibench.synth import cache as synth_cache

    if clear:
        _note(f"freed {units.gb(synth_cache.clear())}")
        return
    found = synth_cache.entries()
    rows = [{"file": path.name, "bytes": size, "last_used": _when(used)} for path, size, used in found]
    _note(f"{units.gb(sum(size for _, size, _ in found))} of at most {units.gb(synth_cache.limit_bytes())}")
    _emit(tables.text(rows, output, _width(out), name="phibench_cache"), out)


# ------------------------------------------------------------------------------------------------- parts


def _machine(path: str | None) -> Machine:
    from phibench.core import files
    from phibench.core.nouns import Machine
    from phibench.machine import inventory

    return files.read_strict(Path(path), Machine) if path else inventory.this_machine()


def _runs(folder: str | None) -> Sequence[Run]:
    """Every run that can be read; the others are named on stderr."""
    from phibench.core import folders, run_files

    runs, skipped = run_files.read_runs(folders.results_dir(folder))
    for line in skipped:
        _note(f"skipped: {line}")
    return runs


def _top(text: str) -> int | None:
    if text.lower() == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise PhibenchError(f"--top takes a number from 1, or all; not '{text}'")
    return int(text)


def _width(out: str | None) -> int | None:
    """Columns of the terminal; None where the data goes into a file or a pipe, which has no width."""
    import shutil

    return shutil.get_terminal_size().columns if not out and sys.stdout.isatty() else None


def _emit(text: str, out: str | None) -> None:
    if out:
        from phibench.core import files

        files.write_text(Path(out), text.rstrip("\n") + "\n")
        return
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def _when(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _note(text: str) -> None:
    """One line on stderr, which may quote a file from somebody else."""
    from phibench.core.text import plain

    print(plain(text), file=sys.stderr)


def _terminate(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The console script: one line for a user's error, a traceback only for a bug."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123  closed by the shell: >&-
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show is no reason to stop
    try:
        cli.main(standalone_mode=False)
    except PhibenchError as error:
        _note(f"phibench: {error}")
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        guess = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
        _note(f"phibench: unknown option {error.option_name}{guess} See phibench {_command()}--help")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _note(f"phibench: {' '.join(error.format_message().split())} See phibench {_command()}--help")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _note("phibench: interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has gone: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _note(f"phibench: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        sys.exit(FAILED)


def _command() -> str:
    return f"{sys.argv[1]} " if len(sys.argv) > 1 and sys.argv[1] in cli.commands else ""


if __name__ == "__main__":
    main()
