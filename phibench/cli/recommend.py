"""``recommend``: which Phi for a machine."""

from __future__ import annotations

import sys

import click

from phibench.cli import options
from phibench.core.errors import NOTHING_FITS, TOO_BUSY, PhibenchError


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
