"""Questions that no run answers: ``models``, ``hardware``, ``recommend``, ``probe``, ``doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from phibench.cli import options
from phibench.core.errors import NOTHING_FITS, TOO_BUSY, PhibenchError


@click.command()
@click.argument("variant", required=False)
@options.context
@options.output
def models(variant: str | None, context: str | None, output: str, out: str | None) -> None:
    """List the Phi models: size, KV cache, licence, strengths."""
    from phibench.core import units
    from phibench.show import models as show_models

    options.emit(show_models.text(variant, units.tokens(context) if context else None, output, options.width(out)), out)


@click.command()
@click.argument("words", nargs=-1, metavar="[WORD]...")
@options.output
def hardware(words: tuple[str, ...], output: str, out: str | None) -> None:
    """List devices as their data sheets say: those in which all WORDs stand, or the one that they name."""
    from phibench.show import hardware as show_hardware

    options.emit(show_hardware.text(words, output, options.width(out)), out)


@click.command()
@click.option("--goal", default="chat", show_default=True, help="chat, code, math, reasoning, multilingual, tools, ...")
@options.context
@click.option("--min-tps", type=float, help="At least this many generated tokens per second.")
@click.option("--max-ttft", type=float, help="At most this many seconds until the first token.")
@click.option("--thinking-tokens", type=int, help="Assumed thinking tokens of reasoning variants.")
@click.option("--machine", metavar="FILE", help="Use a machine description (.toml or .json) instead of this machine.")
@click.option("--top", default="5", show_default=True, help="How many, or 'all'.")
@options.results
@options.output
def recommend(
    goal: str, context: str | None, min_tps: float | None, max_ttft: float | None, thinking_tokens: int | None,
    machine: str | None, top: str, results: str | None, output: str, out: str | None,
) -> None:  # fmt: skip
    """Recommend a Phi for a machine, and say why the others do not fit."""
    from phibench import catalog
    from phibench.advise.recommend import advise, outcome, uncalibrated
    from phibench.core import units
    from phibench.core.text import wrap
    from phibench.probe import busy
    from phibench.show import advice
    from phibench.show import busy as show_busy

    count = _top(top)
    wanted = catalog.goal(goal)
    place = options.machine_of(machine)
    verdicts = advise(
        place, wanted, options.stored_runs(results), context=units.tokens(context) if context else None,
        min_tps=min_tps, max_ttft=max_ttft, thinking_tokens=thinking_tokens,
    )  # fmt: skip
    tokens = units.tokens(context) if context else wanted.context
    engines = () if machine else uncalibrated(verdicts)
    said = advice.text(place, wanted, tokens, verdicts, count, output, options.width(out), uncalibrated=engines)
    options.emit(said, out)
    code = outcome(verdicts, here=machine is None)
    if code == NOTHING_FITS:
        options.note("nothing fits; where the reasons name them: a shorter --context, looser limits, or more memory")
    elif code == TOO_BUSY:
        for line in wrap(show_busy.nothing_can_be_said(place, verdicts, busy.look(), "recommend")):
            options.note(line)
    if code:
        sys.exit(code)


def _top(text: str) -> int | None:
    if text.lower() == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise PhibenchError(f"--top takes a number from 1, or all; not '{text}'")
    return int(text)


@click.command()
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.option("--out", metavar="FILE", help="Write the data here instead of stdout.")
@click.option("--save", metavar="FILE", help="Write the machine here (.toml or .json), for --machine FILE.")
@click.option("--quick", is_flag=True, help="Measure nothing; show cached figures only.")
@click.option("--anew", is_flag=True, help="Measure again instead of using cached figures.")
def probe(output: str, out: str | None, save: str | None, quick: bool, anew: bool) -> None:
    """Show what this machine offers for running a Phi."""
    import shutil

    from phibench.core import files
    from phibench.machine import inventory
    from phibench.show import machine as show_machine

    if save:
        files.check_machine_name(Path(save))
    machine = inventory.this_machine(
        bandwidth=not quick, full=True, remeasure=anew, on_progress=lambda what: options.note(f"measuring: {what}")
    )
    if save:
        files.write_machine(Path(save), machine)
    columns = shutil.get_terminal_size().columns
    options.emit(files.json_text(machine) if output == "json" else show_machine.text(machine, min(columns, 120)), out)


@click.command()
@click.option("--out", metavar="FILE", help="Write the report here instead of stdout.")
@click.option("-o", "--output", type=click.Choice(("md", "json")), default="md", show_default=True)
def doctor(out: str | None, output: str) -> None:
    """Find what is broken or slow on this machine and how to fix it; made to be pasted into a bug report."""
    from phibench.core import files
    from phibench.machine import doctor as rules
    from phibench.machine import inventory, software
    from phibench.probe import conditions
    from phibench.show import doctor as show_doctor
    from phibench.verify import selftest

    machine = inventory.this_machine(full=True, on_progress=lambda what: options.note(f"measuring: {what}"))
    machine = selftest.retest(machine, options.note)
    options.note("looking at the machine, 2 s")
    now = conditions.look(busy_s=min(2.0, conditions.LOOK_S), gpu=True)
    if output == "json":
        options.emit(files.json_text(rules.findings(machine, now)), out)
    else:
        options.emit(show_doctor.report(machine, now, software.software()), out)
