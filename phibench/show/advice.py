"""The advice as text: a table with its reasons for people, Markdown, or a form for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from phibench.advise import ranking, recommend
from phibench.advise.explain import ROWS_ALONE, Reasons
from phibench.advise.howto import howtos
from phibench.core import amounts, files, units
from phibench.core.nouns import Changed, Goal, Howto, LossClass, Machine, Settled, Verdict
from phibench.core.nouns.advice import loss_class
from phibench.core.text import wrap
from phibench.predict import finetuning
from phibench.show import advice_document, advice_notes, busy, howto, outputs, recalled, tables

_COLUMNS = (
    tables.column("rank", "#", right=True),
    tables.column("setup", "Phi"),
    tables.column("level", "fits"),
    tables.column("answers", "answers", rank=1),
    tables.column("quality", "score", rank=3),
    tables.column("decode tok/s", "tok/s"),
    tables.column("TTFT", "first token", rank=2),
    tables.column("memory", "memory"),
)
_RUN = "; --run prints the lines that run it"
_TRAINED = (*_COLUMNS[:3], tables.column("method", "method"), _COLUMNS[-1])


def text(
    machine: Machine,
    goal: Goal,
    context: int,
    verdicts: Sequence[Verdict],
    top: int | None,
    output: str,
    width: int | None = None,
    *,
    hints: bool = True,
    uncalibrated: Sequence[str] = (),
    assumed: Sequence[str] = (),
    places: bool = False,
    reasons: Reasons = ROWS_ALONE,
    settled: Settled | None = None,
    changed: Changed | None = None,
) -> str:
    """The ``top`` variants (None: every candidate): ``table`` or ``md``, the ``json`` document, or one flat row each.

    A table has colour where a width is given. ``hints``: say which engines are still to be installed.
    ``uncalibrated``: engines of this machine of which nothing was measured yet. ``assumed``: of a described machine,
    what nobody told. ``places``: the best of every backend and device of the variants. ``reasons``: what explains them.
    ``settled``: what was measured for it, for the document. ``changed``: what is different since the last answer.
    """
    if output == "json":
        more: dict[str, Any] = {"assumed": assumed, "places": places, "settled": settled, "changed": changed}
        found = advice_document.to_json(machine, goal, context, verdicts, top, uncalibrated, reasons=reasons, **more)
        return files.json_text(found) + "\n"
    if output in outputs.DATA_FORMATS:
        flat = advice_document.flat_rows(machine, goal, context, verdicts, top, places=places, reasons=reasons)
        return tables.text(flat, output, name="phibench_recommend")
    shown = advised(
        machine, goal, context, verdicts, top, hints=hints, uncalibrated=uncalibrated, assumed=assumed, places=places,
        reasons=reasons, changed=changed, to_run=_RUN if output == "table" else "",
    )  # fmt: skip
    return _markdown(shown) if output == "md" else _drawn(shown, width)


class Advised(NamedTuple):
    """The advice as a person sees it: ``words`` stand under each row, ``notes`` below them all, then the lines."""

    caption: str
    rows: Sequence[dict[str, str]]
    words: Sequence[str]
    columns: Sequence[tables.Column[Any]]
    notes: Sequence[str]
    run: Sequence[Howto]  # how to run the first row, where it serves and a tool does


def advised(
    machine: Machine,
    goal: Goal,
    context: int,
    verdicts: Sequence[Verdict],
    top: int | None,
    *,
    hints: bool = True,
    uncalibrated: Sequence[str] = (),
    assumed: Sequence[str] = (),
    places: bool = False,
    reasons: Reasons = ROWS_ALONE,
    changed: Changed | None = None,
    to_run: str = "",
) -> Advised:
    """As in :func:`text`; ``to_run``: what is said where the first row can be run."""
    chosen = ranking.shown(verdicts, top, places=places)
    told, everywhere = _shortened(rows(chosen), chosen)
    words = advice_notes.of_each(goal, verdicts, chosen, told, reasons, tell_place=not everywhere)
    run = howtos(machine, goal, chosen[0]) if chosen else ()
    notes = [recalled.sentence(changed)] if changed else []
    notes += advice_notes.below(machine, goal, verdicts, chosen, reasons, to_run if run else "")
    notes += busy.doubts(machine)
    notes += [*_grounds(goal, chosen, assumed), *_to_calibrate(verdicts, uncalibrated)]
    notes += recommend.hints(chosen) if hints else ()
    caption = f"{_asked(goal, context)}, on {machine.name}{everywhere}"
    columns = _TRAINED if goal.training else _COLUMNS
    return Advised(caption, told, words, columns, notes, run)


def _grounds(goal: Goal, chosen: Sequence[Verdict], assumed: Sequence[str]) -> list[str]:
    """On what the figures rest."""
    speeds = [] if goal.training else advice_notes.known_from(chosen)
    return [*speeds, f"Assumed: {'; '.join(assumed)}"] if assumed else speeds


def _markdown(shown: Advised) -> str:
    said = [f"{row['rank']}: {word}" for row, word in zip(shown.rows, shown.words, strict=True) if word]
    lines = [f"- {tables.markdown_text(note)}" for note in (*said, *shown.notes)]
    drawn = "\n".join([tables.markdown_text(shown.caption), "", tables.markdown(shown.rows, shown.columns), *lines])
    return f"{drawn}\n" + (f"\n{howto.markdown(shown.run)}" if shown.run else "")


def _drawn(shown: Advised, width: int | None) -> str:
    color = width is not None and tables.wants_color()
    drawn = tables.draw(
        shown.rows, shown.columns, width, shown.caption, color=color, below=shown.words, tell_dropped=False
    )
    return "\n".join([drawn, *(part for note in shown.notes for part in wrap(note, width))]) + "\n"


def _shortened(rows: list[dict[str, str]], verdicts: Sequence[Verdict]) -> tuple[list[dict[str, str]], str]:
    """``variant:quantization`` in the rows; where all run in one place it is said above, `` with llama_cpp/cpu``."""
    places = {verdict.setup.place for verdict in verdicts}
    short = [{**row, "setup": verdict.setup.model} for row, verdict in zip(rows, verdicts, strict=True)]
    return short, f", with {places.pop()}" if len(places) == 1 else ""


def _to_calibrate(verdicts: Sequence[Verdict], engines: Sequence[str]) -> list[str]:
    """What calibrating would narrow, with the first setup that shows it, and how long it takes."""
    of_them = [v for v in verdicts if v.setup.backend in engines]
    shown = [(v.setup, e) for v in of_them if (e := v.estimates.get("decode_tps"))]
    if not engines:
        return []
    seconds = units.duration(advice_document.CALIBRATE_S)
    line = f"phibench calibrate would narrow the speeds of {', '.join(engines)} in {seconds}"
    if not shown:
        return [line]
    setup, estimate = shown[0]
    return [f"{line}: decode of {setup} is now {amounts.shown('decode_tps', estimate)} tok/s"]


def _asked(goal: Goal, context: int) -> str:
    return f"Goal {goal.id}: {_workload(goal)}, context {units.context(context)}"


def _workload(goal: Goal) -> str:
    if goal.training:
        return f"adapters of rank {goal.training.rank}, batches of {goal.training.batch}"
    seen = [f"image {size}" for size in goal.images]
    seen += [f"{goal.audio_s:g} s of speech"] if goal.audio_s else []
    return ", ".join([f"{goal.prompt_tokens} prompt tokens", *seen, f"{goal.new_tokens} new tokens"])


ANSWERS: dict[LossClass, str] = {
    "original": "as original", "fine": "fine", "noticeable": "noticeably off", "coarse": "coarse",
}  # fmt: skip


def rows(chosen: Sequence[Verdict]) -> list[dict[str, str]]:
    """One of text per verdict, for a table."""
    found = []
    for rank, verdict in enumerate(chosen, start=1):
        cell = {m: amounts.shown(m, e) for m, e in verdict.estimates.items()}
        setup = verdict.setup
        quality, loss = verdict.estimates.get("quality"), verdict.estimates.get("quant_kld")
        found.append(
            {
                "rank": str(rank),
                "setup": str(setup),
                "level": verdict.level,
                "answers": ANSWERS[loss_class(loss.value)] if loss else "not known",
                "quality": f"{cell['quality']} {quality.benchmark}" if quality else "no score",
                "decode tok/s": cell.get("decode_tps", "not known"),
                "TTFT": cell.get("ttft_s", "not known"),
                "answer": cell.get("answer_s", "not known"),
                "method": finetuning.QUANTIZATIONS.get(setup.quantization, ""),
                "memory": cell.get("device_peak_bytes") or cell.get("host_needed_bytes", "not known"),
                "why": _why(verdict),
            }
        )
    return found


def _why(verdict: Verdict) -> str:
    """Objections, else what is not known with the command that settles it, once."""
    if verdict.objections:
        return "; ".join(verdict.objections)
    remedies = dict.fromkeys(reason.remedy for reason in verdict.unknowns if reason.remedy)
    told = "; ".join(reason.text for reason in verdict.unknowns)
    return f"{told}: {'; '.join(remedies)}" if remedies else told
