"""What was measured, and what it left: ``results``, ``report``, ``compare``, ``import``, ``cache``, ``dashboard``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from phibench.cli import options


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILE]...")
@options.results
@options.output
def results(paths: tuple[str, ...], results: str | None, output: str, out: str | None) -> None:
    """Show stored runs: all, or the FILEs given."""
    from phibench.core import folders, run_files
    from phibench.show import results as show_results

    runs = tuple(run_files.read_run(Path(p)) for p in paths) if paths else options.stored_runs(results)
    if not runs:
        options.note(f"no runs in {folders.results_dir(results)}; type: phibench run quick")
    options.emit(show_results.FORMATS[output](show_results.rows(runs), options.width(out)), out)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--goal", default="chat", show_default=True, help="Goal for which the page recommends a Phi.")
@click.option("--out", metavar="FILE", default="report.html", show_default=True, help="The page.")
@options.results
def report(runs: tuple[str, ...], goal: str, out: str, results: str | None) -> None:
    """Write one self-contained HTML page: charts, the Phi that fits, and the lines that run it.

    Each RUN is a file, an id or its beginning, or latest.
    """
    from phibench import catalog
    from phibench.core import files, folders
    from phibench.core.errors import PhibenchError
    from phibench.show import report as show_report
    from phibench.show import report_advice

    if out in runs or Path(out).suffix.lower() == ".json":
        raise PhibenchError(f"--out {out} is where a run may be; write a page, for example --out report.html")
    wanted, known = catalog.goal(goal), options.stored_runs(results)
    found = show_report.chosen(runs, folders.results_dir(results), known)
    files.write_text(Path(out), show_report.page(found, report_advice.of_machines(found, known, wanted)))
    options.note(f"report: {out}")


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--fail-on-regression",
    metavar="SHARE",
    help="Exit with code 4 if B is worse by more than this, e.g. 5% or 0.05.",
)
@options.results
@options.output
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
        options.note(f"skipped: {line}")
    found = comparing.compare(a, b)
    options.emit(comparison.text(a, b, found, output, options.width(out)), out)
    if output not in ("table", "md"):
        for line in found.notes:
            options.note(line)
    if most is not None and (code := comparing.exit_code(found.rows, most)):
        sys.exit(code)


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("-m", "--model", metavar="VARIANT", help="Which Phi was measured, if the file does not say.")
@click.option("-q", "--quant", metavar="QUANT", help="Its quantization, if the file does not say.")
@click.option("-dev", "--device", help="Where llama-batched-bench ran: cpu, cuda:0, ...")
@click.option("--machine", metavar="FILE", help="The machine it was measured on (.toml or .json), if not this one.")
@options.results
@options.output
def import_(
    file: str, model: str | None, quant: str | None, device: str | None, machine: str | None, results: str | None,
    output: str, out: str | None,
) -> None:  # fmt: skip
    """Import results of llama-bench as a run.

    FILE: JSON or JSON lines of llama-bench, or JSON lines of llama-batched-bench; - is standard input.
    """
    from phibench.core import folders
    from phibench.imports import importer
    from phibench.imports.translate import ImportRequest
    from phibench.show import results as show_results

    asked = ImportRequest(
        variant=model, quantization=quant, device=device, machine=options.machine_of(machine) if machine else None
    )
    source = None if file == "-" else Path(file)
    runs = importer.run_import(source, asked, folders.results_dir(results), options.note)
    options.emit(show_results.FORMATS[output](show_results.rows(runs), options.width(out)), out)


@click.command()
@options.results
@click.option("--port", type=int, help="Port on 127.0.0.1 [8501, or the next free one].")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def dashboard(results: str | None, port: int | None, no_browser: bool) -> None:
    """Results and advice in the browser (127.0.0.1)."""
    from phibench.cli import dashboard as served
    from phibench.core import folders

    sys.exit(served.serve(folders.results_dir(results), port, not no_browser))


@click.command()
@click.option("--clear", is_flag=True, help="Delete all synthetic files.")
@options.output
def cache(clear: bool, output: str, out: str | None) -> None:
    """Show the cache of synthetic model files."""
    from phibench.core import units
    from phibench.show import tables
    from phibench.synth import cache as synth_cache

    if clear:
        options.note(f"freed {units.gb(synth_cache.clear())}")
        return
    found = synth_cache.entries()
    rows = [{"file": path.name, "bytes": size, "last_used": _when(used)} for path, size, used in found]
    options.note(f"{units.gb(sum(size for _, size, _ in found))} of at most {units.gb(synth_cache.limit_bytes())}")
    options.emit(tables.text(rows, output, options.width(out), name="phibench_cache"), out)


def _when(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
