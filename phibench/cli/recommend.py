"""``recommend``: which Phi for this machine, for one that a file or a few words describe, for each of a list."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from phibench.cli import howto, options, recommend_why
from phibench.cli.answer import Shape, nothing_to_try, say_why
from phibench.core.errors import NOTHING_FITS, PhibenchError

if TYPE_CHECKING:
    from phibench.advise.moves import Inquiry
    from phibench.core.nouns import Goal, Machine, Run

_OSES = ("linux", "windows", "macos", "android", "ios")  # as machine.asked has them: --help imports nothing
_POWERS = ("battery", "mains")
_GROUPS = {
    "What for": (
        "goal", "context", "min_tps", "max_ttft", "max_answer", "thinking_tokens", "language", "rank", "batch",
    ),
    "Which Phi (any, if nothing is said)": ("variant", "quant", "backend", "any_build"),
    "Which machine (this one, if nothing is said)": (
        "machine", "machines", "gpu", "cpu", "ram", "more_memory", "os", "power",
    ),
    "About one setup": ("explain", "why_not"),
    "To be surer": ("settle",),
    "Output": ("top", "places", "run", "results", "output", "out"),
}  # fmt: skip


class _Told(NamedTuple):
    """What flags say of a machine that is not here."""

    gpu: str | None
    cpu: str | None
    ram: str | None
    os: str | None
    power: str | None

    def flags(self) -> list[str]:
        return [f"--{name}" for name, value in self._asdict().items() if value is not None]


@click.command(cls=options.Grouped, groups=_GROUPS)
@click.option("--goal", default="chat", show_default=True, help="chat, code, math, reasoning, multilingual, tools, ...")
@options.context
@click.option("--min-tps", type=float, help="At least this many generated tokens per second.")
@click.option("--max-ttft", type=float, help="At most this many seconds until the first token.")
@click.option("--max-answer", type=float, help="At most this many seconds until the whole answer.")
@click.option("--thinking-tokens", type=int, help="Assumed thinking tokens of reasoning variants.")
@click.option("--language", metavar="CODE", help="Made for this language: de, or German.")
@click.option("--rank", type=int, help="Rank of adapters, for --goal fine-tuning; --context: tokens per example.")
@click.option("--batch", type=int, help="Examples per batch, for --goal fine-tuning.")
@click.option("-m", "--variant", metavar="NAME[,...]", help="Only these Phi models.")
@click.option("-q", "--quant", metavar="NAME[,...]", help="Only these quantizations, published or not.")
@click.option("-b", "--backend", metavar="NAME[,...]", help="Only these backends.")
@click.option("--any-build", is_flag=True, help="Also builds that nobody publishes: you would make them yourself.")
@click.option("--machine", metavar="FILE", help="Use a machine description (.toml or .json) instead of this machine.")
@click.option("--machines", metavar="FILE", help="One answer for each row of a list (.csv: name, cpu, gpu, ram, os).")
@click.option("--gpu", metavar="NAME", help="A machine with this GPU: '2x RTX 3090', or none.")
@click.option("--cpu", metavar="NAME", help="A machine with this processor; names as in phibench hardware.")
@click.option("--ram", metavar="SIZE", help="Its memory, for example 16GiB.")
@click.option("--more-memory", metavar="SIZE", help="Assume that much more of each memory is free.")
@click.option("--os", type=click.Choice(_OSES, case_sensitive=False), help="Its operating system.")
@click.option("--power", type=click.Choice(_POWERS, case_sensitive=False), help="Its power source.")
@click.option("--explain", metavar="SETUP", help="All that is known about phi-4, or phi-4:Q8_0, and its place.")
@click.option("--why-not", metavar="SETUP", help="Why phi-4, or phi-4:Q8_0, is not first; what turns a no into a yes.")
@click.option(
    "--settle",
    is_flag=False,
    flag_value="2m",
    metavar="[TIME]",
    help="Measure what could change the pick, for TIME or 2 minutes.",
)
@click.option("--top", default="5", show_default=True, help="How many to list, or 'all'.")
@click.option("--places", is_flag=True, help="Every backend and device of a Phi, not only its best.")
@click.option(
    "--run", is_flag=False, flag_value=howto.ALL, metavar="[TOOL]", help="Print only the lines to copy for the pick."
)
@options.results
@options.output
def recommend(
    goal: str, context: str | None, min_tps: float | None, max_ttft: float | None,
    max_answer: float | None, thinking_tokens: int | None, language: str | None, rank: int | None, batch: int | None,
    variant: str | None, quant: str | None, backend: str | None, any_build: bool, machine: str | None,
    machines: str | None, gpu: str | None, cpu: str | None, ram: str | None, more_memory: str | None, os: str | None,
    power: str | None, explain: str | None, why_not: str | None, settle: str | None, top: str, places: bool,
    run: str | None, results: str | None, output: str, out: str | None,
) -> None:  # fmt: skip
    """Recommend a Phi for a machine, and say why the others do not fit.

    Without a machine it is for this one. --gpu or --cpu alone is enough to describe another: what is missing is
    assumed, and listed.
    """
    from phibench import catalog
    from phibench.advise.candidates import narrowed
    from phibench.core import units

    count, told = _top(top), _Told(*(word and word.strip() for word in (gpu, cpu, ram, os, power)))
    _check_where(machine, machines, told)
    recommend_why.check_questions(explain, why_not, settle, run, more_memory, places=places)
    howto.check(run, output, machines)
    why = recommend_why.asked_of(explain, why_not, machines, output)
    budget_s = _budget(settle, machine, machines, told)
    wanted, tokens = catalog.goal(goal), units.tokens(context) if context else None
    asked = {
        "context": tokens, "min_tps": min_tps, "max_ttft": max_ttft, "max_answer": max_answer,
        "thinking_tokens": thinking_tokens, "language": language, "rank": rank, "batch": batch,
        "only": narrowed(variant, quant, backend, any_build),
    }  # fmt: skip
    shape = Shape(tokens or wanted.context, count, places, output, out, run)
    if budget_s:
        from phibench.cli.settle import settle as settled

        code = settled(wanted, results, asked, shape, budget_s)
    elif machines:
        code = _each(Path(machines), wanted, options.stored_runs(results), asked, shape)
    else:
        code = _of_a_machine(machine, told, more_memory, wanted, results, asked, shape, why)
    if code:
        sys.exit(code)


def _of_a_machine(
    machine: str | None, told: _Told, more_memory: str | None, wanted: Goal, results: str | None, asked: dict[str, Any],
    shape: Shape, why: recommend_why.Asked | None,
) -> int:  # fmt: skip
    place, assumed = _place(machine, told)
    here = machine is None and not told.flags() and not more_memory
    place, runs, given = recommend_why.grown(place, options.stored_runs(results), more_memory)
    asks = recommend_why.question(place, wanted, runs, asked, told, given)
    return _one(asks, assumed, here, wanted, results, asked, shape, why)


def _check_where(machine: str | None, machines: str | None, told: _Told) -> None:
    flags = told.flags()
    if machine and machines:
        raise PhibenchError("--machine is one machine and --machines a list: leave out one of them")
    if flags and (machine or machines):
        flag = "--machine" if machine else "--machines"
        raise PhibenchError(f"{flag} describes the machine already: leave out {flag} or {', '.join(flags)}")
    if flags and not told.gpu and not told.cpu:
        add = "--gpu NAME or --cpu NAME"
        raise PhibenchError(
            f"{', '.join(flags)} alone describes no machine: add {add} ('phibench hardware' lists names)"
        )
    source = click.get_current_context().get_parameter_source
    for flag in ("top", "places", "more_memory"):
        if machines and source(flag) != click.core.ParameterSource.DEFAULT:
            raise PhibenchError(f"--machines gives one answer for each machine: leave out --{flag.replace('_', '-')}")


def _budget(settle: str | None, machine: str | None, machines: str | None, told: _Told) -> float | None:
    """Seconds to settle in; None: that was not asked for."""
    if settle is None:
        return None
    from phibench.cli.settle import budget

    files = {"--machine": machine, "--machines": machines}
    return budget(settle, [*(flag for flag, file in files.items() if file), *told.flags()])


def _place(machine: str | None, told: _Told) -> tuple[Machine, Sequence[str]]:
    if not told.flags():
        return options.machine_of(machine), ()
    from phibench.machine.asked import described

    return described(*told)


def _one(
    asks: Inquiry, assumed: Sequence[str], here: bool, wanted: Goal, results: str | None, asked: dict[str, Any],
    shape: Shape, why: recommend_why.Asked | None,
) -> int:  # fmt: skip
    from phibench.advise import many, ranking, reasons
    from phibench.advise.recommend import advise, outcome, uncalibrated
    from phibench.cli import recalled
    from phibench.core import folders
    from phibench.show import advice

    place, goal, runs, folder = asks.machine, asks.goal, asks.runs, folders.results_dir(results)
    shown = functools.partial(ranking.shown, top=shape.top, places=shape.places)
    verdicts = None
    if shape.top and not shape.places and not here and not why:  # what is installed here counts by all candidates
        verdicts = many.of_each_variant(place, goal, runs, **asked, top=shape.top)
    if verdicts is None:
        verdicts = advise(place, goal, runs, **asked, chosen=None if shape.top is None else shown)
    code = outcome(verdicts, here=here)
    if why:
        recommend_why.answered(asks, why, verdicts, asked["only"], here, shape.output, shape.out, code)
        return code
    if not verdicts:
        if shape.output == "json":
            options.emit(advice.text(place, goal, shape.context, (), shape.top, "json", assumed=assumed), shape.out)
        raise nothing_to_try(place)
    if shape.run:
        return howto.tell(place, goal, verdicts, shape.run, shape.output, shape.out, code)
    changed = recalled.changed(folder, place, wanted, asked, runs, verdicts) if here else None
    why_so = reasons.reasons(asks, verdicts, shown(verdicts), asked["only"], json=shape.output == "json")
    said = advice.text(
        place, goal, shape.context, verdicts, shape.top, shape.output, options.width(shape.out),
        uncalibrated=uncalibrated(verdicts) if here else (), assumed=assumed, places=shape.places, reasons=why_so,
        changed=changed,
    )  # fmt: skip
    options.emit(said, shape.out)
    if here:
        recalled.keep(folder, place, wanted, asked, runs, verdicts)
    if not why_so.nearest:
        say_why(code, place, verdicts, lambda there: advise(there, goal, runs, **asked))
    return code


def _each(path: Path, goal: Goal, runs: Sequence[Run], asked: dict[str, Any], shape: Shape) -> int:
    from phibench.advise import many
    from phibench.machine import list_file, listed
    from phibench.show import fleet, fleet_summary

    rows = [listed.understood(row) for row in list_file.read(path)]
    known = [row.described.machine for row in rows if row.described]
    picks = iter(many.picks(known, goal, runs, _progress(), **asked))
    answers = [fleet_summary.Answer(row, next(picks) if row.described else None) for row in rows]
    options.emit(fleet.text(answers, goal, shape.context, shape.output, options.width(shape.out)), shape.out)
    if any(answer.has_pick for answer in answers):
        return 0
    options.note("no machine in the list has an answer; the list gives the reasons")
    return NOTHING_FITS


def _progress() -> Any:
    """On a terminal, how many of the different machines have been asked."""
    if not sys.stderr.isatty():
        return None

    def say(done: int, of: int) -> None:
        end = "\r\x1b[K" if done == of else ""
        print(f"\r{done} of {of} different machines{end}", end="", file=sys.stderr, flush=True)

    return say


def _top(text: str) -> int | None:
    if text.lower() == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise PhibenchError(f"--top takes a number from 1, or all; not '{text}'")
    return int(text)
