"""Verdicts as text: a table with its reasons for people, Markdown, or the JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from phibench.advise import explain, ranking, recommend
from phibench.advise.explain import ROWS_ALONE, Reasons
from phibench.advise.howto import howtos
from phibench.advise.moves import Change
from phibench.core import amounts, files, units
from phibench.core.nouns import SCHEMA, Changed, Estimate, Goal, LossClass, Machine, Settled, Verdict
from phibench.core.nouns.advice import loss_class
from phibench.core.text import wrap
from phibench.predict import finetuning
from phibench.show import advice_notes, busy, howto, outputs, recalled, tables
from phibench.show import settled as settled_lines

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
        return _document(to_json(machine, goal, context, verdicts, top, uncalibrated, reasons=reasons, **more))
    if output in outputs.DATA_FORMATS:
        found = flat_rows(machine, goal, context, verdicts, top, places=places, reasons=reasons)
        return tables.text(found, output, name="phibench_recommend")
    chosen = ranking.shown(verdicts, top, places=places)
    told, everywhere = _shortened(rows(chosen), chosen)
    words = advice_notes.of_each(goal, verdicts, chosen, told, reasons, tell_place=not everywhere)
    notes = [recalled.sentence(changed)] if changed else []
    notes += [*advice_notes.below(machine, goal, verdicts, chosen, reasons), *busy.doubts(machine)]
    notes += [*_grounds(goal, chosen, assumed), *_to_calibrate(verdicts, uncalibrated)]
    notes += recommend.hints(chosen) if hints else ()
    caption = f"{_asked(goal, context)}, on {machine.name}{everywhere}"
    drawn = _drawn(caption, told, words, _TRAINED if goal.training else _COLUMNS, notes, output, width)
    return drawn + _to_run(machine, goal, chosen) if output == "md" else drawn


def _grounds(goal: Goal, chosen: Sequence[Verdict], assumed: Sequence[str]) -> list[str]:
    """On what the figures rest."""
    speeds = [] if goal.training else advice_notes.known_from(chosen)
    return [*speeds, f"Assumed: {'; '.join(assumed)}"] if assumed else speeds


def _to_run(machine: Machine, goal: Goal, chosen: Sequence[Verdict]) -> str:
    """How to run the first row, where it serves and a tool does."""
    found = howtos(machine, goal, chosen[0]) if chosen else ()
    return f"\n{howto.markdown(found)}" if found else ""


def _drawn(
    caption: str, rows: list[dict[str, str]], words: Sequence[str], columns: Sequence[tables.Column[Any]],
    notes: Sequence[str], output: str, width: int | None,
) -> str:  # fmt: skip
    if output == "md":
        said = [f"{row['rank']}: {word}" for row, word in zip(rows, words, strict=True) if word]
        lines = [f"- {tables.markdown_text(note)}" for note in (*said, *notes)]
        return "\n".join([tables.markdown_text(caption), "", tables.markdown(rows, columns), *lines]) + "\n"
    drawn = tables.draw(
        rows, columns, width, caption, color=width is not None and tables.wants_color(), below=words, tell_dropped=False
    )
    return "\n".join([drawn, *(part for note in notes for part in wrap(note, width))]) + "\n"


def flat_rows(
    machine: Machine, goal: Goal, context: int, verdicts: Sequence[Verdict], top: int | None, *, places: bool = False,
    reasons: Reasons = ROWS_ALONE,
) -> list[dict[str, Any]]:  # fmt: skip
    """The candidates of the JSON document; of an estimate the value stands under the metric, its bounds beside it."""
    found = []
    shown = to_json(machine, goal, context, verdicts, top, places=places, reasons=reasons)["candidates"]
    for rank, candidate in enumerate(shown, start=1):
        where = {"goal": goal.id, "context": context, "machine": machine.name, "rank": rank}
        rest = {key: value for key, value in candidate.items() if key != "estimates"}
        rest["change"] = rest["change"] and rest["change"]["text"]
        estimates: dict[str, Any] = {}
        for metric, estimate in candidate["estimates"].items():
            known = estimate or {}
            estimates[metric] = known.get("value")
            estimates |= {f"{metric}_{part}": known.get(part) for part in ("low", "high", "basis", "because")}
        found.append({**where, **rest, **estimates})
    return found


def _shortened(rows: list[dict[str, str]], verdicts: Sequence[Verdict]) -> tuple[list[dict[str, str]], str]:
    """``variant:quantization`` in the rows; where all run in one place it is said above, `` with llama_cpp/cpu``."""
    places = {verdict.setup.place for verdict in verdicts}
    short = [{**row, "setup": verdict.setup.model} for row, verdict in zip(rows, verdicts, strict=True)]
    return short, f", with {places.pop()}" if len(places) == 1 else ""


CALIBRATE_S = 120  # what calibrate takes where no --budget is given


def _to_calibrate(verdicts: Sequence[Verdict], engines: Sequence[str]) -> list[str]:
    """What calibrating would narrow, with the first setup that shows it, and how long it takes."""
    of_them = [v for v in verdicts if v.setup.backend in engines]
    shown = [(v.setup, e) for v in of_them if (e := v.estimates.get("decode_tps"))]
    if not engines:
        return []
    line = f"phibench calibrate would narrow the speeds of {', '.join(engines)} in {units.duration(CALIBRATE_S)}"
    if not shown:
        return [line]
    setup, estimate = shown[0]
    return [f"{line}: decode of {setup} is now {amounts.shown('decode_tps', estimate)} tok/s"]


def _document(found: dict[str, Any]) -> str:
    return files.json_text(found) + "\n"


def _asked(goal: Goal, context: int) -> str:
    return f"Goal {goal.id}: {_workload(goal)}, context {units.context(context)}"


def _workload(goal: Goal) -> str:
    if goal.training:
        return f"adapters of rank {goal.training.rank}, batches of {goal.training.batch}"
    seen = [f"image {size}" for size in goal.images]
    seen += [f"{goal.audio_s:g} s of speech"] if goal.audio_s else []
    return ", ".join([f"{goal.prompt_tokens} prompt tokens", *seen, f"{goal.new_tokens} new tokens"])


# What every candidate of recommend -o json shows, null where it is not known.
ESTIMATED = (
    "quality", "quant_kld", "decode_tps", "prefill_tps", "ttft_s", "tpot_s", "answer_s", "host_needed_bytes",
    "device_peak_bytes", "weights_bytes", "kv_bytes", "disk_bytes", "max_context_tokens", "load_cold_s", "load_warm_s",
    "prefill_j_per_token", "decode_j_per_token", "decode_tokens_per_j",
)  # fmt: skip


ANSWERS: dict[LossClass, str] = {
    "original": "as original", "fine": "fine", "noticeable": "noticeably off", "coarse": "coarse",
}  # fmt: skip


def to_json(
    machine: Machine, goal: Goal, context: int | None, verdicts: Sequence[Verdict], top: int | None = None,
    uncalibrated: Sequence[str] = (), *, assumed: Sequence[str] = (), places: bool = False,
    reasons: Reasons = ROWS_ALONE,
    settled: Settled | None = None, changed: Changed | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The document of ``recommend -o json``; ``calibrate`` is null where it would narrow nothing."""
    chosen = ranking.shown(verdicts, top, places=places)
    whys = [explain.why(goal, v, chosen[i - 1] if i else None, verdicts, reasons) for i, v in enumerate(chosen)]
    return {
        "schema": SCHEMA,
        "machine": msgspec.to_builtins(machine),
        "assumed": list(assumed),
        "goal": goal.id,
        "context": goal.context if context is None else context,
        "calibrate": {"backends": list(uncalibrated), "seconds": CALIBRATE_S} if uncalibrated else None,
        "settled": settled_lines.to_json(settled) if settled else None,
        "changed": recalled.to_json(changed) if changed else None,
        "candidates": [_candidate(v, why, reasons) for v, why in zip(chosen, whys, strict=True)],
    }


def _candidate(verdict: Verdict, why: str, reasons: Reasons) -> dict[str, Any]:
    setup = verdict.setup
    names = dict.fromkeys((*ESTIMATED, *verdict.estimates))
    return {
        "setup": str(setup),
        "variant": setup.variant,
        "quantization": setup.quantization,
        "backend": setup.backend,
        "device": setup.device,
        "options": dict(setup.options),
        "verdict": verdict.verdict,
        "level": verdict.level,
        "loss_class": loss_class(loss.value) if (loss := verdict.estimates.get("quant_kld")) else None,
        "published": verdict.build is not None,
        "repository": verdict.build.repository if verdict.build else None,
        "file": verdict.build.path if verdict.build else None,
        "estimates": {m: estimated(e) if (e := verdict.estimates.get(m)) else None for m in names},
        "objections": list(verdict.objections),
        "unknowns": [str(reason) for reason in verdict.unknowns],
        "why": why,
        "change": changed(reasons.changes.get(setup)),
    }


def changed(change: Change | None) -> dict[str, Any] | None:
    """``flags`` stand behind those that were given; ``setup`` is a yes with them."""
    return {"text": change.text, "flags": list(change.flags), "setup": str(change.setup)} if change else None


def estimated(estimate: Estimate) -> dict[str, Any]:
    """Of a score also its ``benchmark``; ``carried_from`` another variant is none: where it has none of its own, it is
    null."""
    found = {key: value for key, value in msgspec.to_builtins(estimate).items() if key != "benchmark"}
    return found | ({"benchmark": estimate.benchmark, "carried_from": None} if estimate.benchmark else {})


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
