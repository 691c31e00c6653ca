"""Questions that no run answers: ``models``, ``hardware``, ``probe``, ``doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from phibench.cli import options


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
    """List devices with the figures of their data sheets: those that contain all WORDs, or the one they name."""
    from phibench.show import hardware as show_hardware

    options.emit(show_hardware.text(words, output, options.width(out)), out)


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
