"""Runs to rows. Pure functions; statistics are computed here, from the raw samples.

A row is one test. Programs get its keys (``formats.flat``): our own, the metrics that the suite claims, each with
``_low``, ``_high`` and ``_spread`` ("range" or "interval"), and all of llama-bench. docs/results.md describes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from phibench import backends
from phibench.analysis import batch_scaling, context_cliff, energy_notes, sustained, winners
from phibench.core import stats, units
from phibench.core.metrics import METRICS, TIMED, complete
from phibench.core.nouns import Failed, Measured, Note, NoteKind, Result, Row, Run, Spread
from phibench.core.text import base_name

# llama-bench's fields in its order, with SQL types (tools/llama-bench/llama-bench.cpp: get_fields,
# get_field_type; BOOLEAN where it prints true or false). What our engines do not say is None.
LLAMA_BENCH = {
    "build_commit": "TEXT", "build_number": "INTEGER", "cpu_info": "TEXT", "gpu_info": "TEXT",
    "backends": "TEXT", "model_filename": "TEXT", "model_type": "TEXT", "model_size": "INTEGER",
    "model_n_params": "INTEGER", "n_batch": "INTEGER", "n_ubatch": "INTEGER", "n_threads": "INTEGER",
    "cpu_mask": "TEXT", "cpu_strict": "BOOLEAN", "poll": "INTEGER", "type_k": "TEXT", "type_v": "TEXT",
    "n_gpu_layers": "INTEGER", "n_cpu_moe": "INTEGER", "split_mode": "TEXT", "main_gpu": "INTEGER",
    "no_kv_offload": "BOOLEAN", "flash_attn": "INTEGER", "devices": "TEXT", "tensor_split": "TEXT",
    "tensor_buft_overrides": "TEXT", "load_mode": "TEXT", "lazy_mode": "TEXT", "embeddings": "BOOLEAN",
    "no_op_offload": "INTEGER", "no_host": "BOOLEAN", "repack": "BOOLEAN", "fit_target": "INTEGER",
    "fit_min_ctx": "INTEGER", "n_prompt": "INTEGER", "n_gen": "INTEGER", "n_depth": "INTEGER",
    "test_time": "TEXT", "avg_ns": "INTEGER", "stddev_ns": "INTEGER", "avg_ts": "REAL", "stddev_ts": "REAL",
    "samples_ns": "TEXT", "samples_ts": "TEXT",
}  # fmt: skip
OWN = {  # the keys that formats.flat() puts first, in its order
    "setup": "TEXT", "variant": "TEXT", "quantization": "TEXT", "backend": "TEXT", "device": "TEXT",
    "options": "TEXT", "test": "TEXT", "batch": "INTEGER", "room": "INTEGER", "weights": "TEXT", "layers": "INTEGER",
    "status": "TEXT", "reason": "TEXT", "placement": "TEXT", "evidence": "TEXT", "engine_version": "TEXT",
    "launches": "INTEGER", "windows": "INTEGER", "wins": "TEXT", "contest": "TEXT",
    "sampling_s": "REAL", "notes": "TEXT", "machine": "TEXT", "suite": "TEXT",
    "short": "BOOLEAN", "buffers": "TEXT", "memory": "TEXT", "planned": "TEXT", "predicted": "TEXT", "energy": "TEXT",
    "run": "TEXT", "example": "BOOLEAN", "imported": "TEXT", "conditions": "TEXT", "warnings": "TEXT",
}  # fmt: skip
_METRICS = {
    f"{name}{end}": "TEXT" if end == "_spread" else "REAL"
    for name in METRICS
    for end in ("", "_low", "_high", "_spread")
}
SQL_COLUMNS = OWN | _METRICS | LLAMA_BENCH  # always all of them, so that every run loads into one table
_WORDS = {"auto": "-1", "off": "0", "false": "0", "on": "1", "true": "1"}  # llama-bench prints numbers


def rows(runs: Sequence[Run]) -> list[Row]:
    """One row per test, in the order of the files; launches of one setup and workload are one row."""
    return [row for run in runs for row in _rows(winners.with_peaks(run))]


def _rows(run: Run) -> Iterator[Row]:
    contests = {} if run.imported or not _in_turns(run) else winners.verdicts(run)
    if max((result.launch for result in run.results), default=0) + 1 < stats.MIN_PAIRS:
        # nobody asked who wins: where nobody took turns either, nobody learns why there is no winner
        contests = {test: found for test, found in contests.items() if any(v.pairs for v in found.values())}
    found = [_row(run, results, contests) for results in _tests(run)]
    for row, knee, answer in zip(found, batch_scaling.notes(found), energy_notes.answers(found), strict=True):
        yield msgspec.structs.replace(row, notes=(*row.notes, *knee, *answer))


def _in_turns(run: Run) -> bool:
    """Whether setups were meant to take turns: not in suites that are short, go on for a time or open anew each time.

    Who took turns with whom in an imported run nobody knows.
    """
    suite = run.suite
    return suite.launches >= stats.MIN_PAIRS or not (suite.short or suite.window_s or suite.fresh)


def _tests(run: Run) -> Iterator[list[Result]]:
    tests: dict[tuple[Any, ...], list[Result]] = {}
    for result in run.results:
        artifact = result.artifact
        model = (base_name(artifact.path), artifact.layers, artifact.weights) if artifact else None
        tests.setdefault((result.setup, result.workload, model), []).append(result)
    for early in [key for key in tests if key[-1] is None]:  # failed before there was a file: it meant the only one
        same = [key for key in tests if key[:-1] == early[:-1] and key != early]
        if len(same) == 1:
            tests[same[0]] += tests.pop(early)
    yield from tests.values()


Contests = Mapping[winners.Contest, Mapping[str, winners.Verdict]]


def _row(run: Run, results: Sequence[Result], contests: Contests) -> Row:
    measured = [r for r in results if isinstance(r, Measured)]
    failed = [r for r in results if isinstance(r, Failed)]
    first = (measured or results)[0]
    test = winners.contest(first)
    verdicts = contests.get(test, {}) if test else {}
    seen = measured[0] if measured else None
    reason = _reason([one.reason for one in failed], len(measured))
    return Row(
        run=run,
        setup=first.setup,
        workload=first.workload,
        artifact=first.artifact,
        threads=first.threads,
        status="ok" if measured else "failed",
        cause=failed[0].cause if failed else None,
        reason=reason,
        why=reason if measured else _reason([one.why or one.reason for one in failed]),
        engine=seen.engine if seen else None,
        launches=len(measured),
        windows=sum(w.kind == "work" for m in measured for w in m.windows) or None,
        wins=tuple(name for name, v in verdicts.items() if v.won and v.best == first.setup),
        contest=tuple(winners.lines(test, verdicts)) if test and verdicts else (),
        sampling_s=_sampling_s(measured),
        notes=tuple(_notes(run, measured)),
        memory=seen.memory if seen else {},
        planned=seen.planned if seen else {},
        predicted=seen.predicted if seen else None,
        energy=tuple(e for m in measured for w in m.windows if w.kind == "work" for e in w.energy),
        energy_sources=energy_notes.sources(run.suite, measured),
        metrics=_claimed(run, measured),
        llama_bench=_llama_bench(run, first) | _timing(run, measured),
    )


def _notes(run: Run, measured: Sequence[Measured]) -> Iterator[Note]:
    """Without those that take other rows to know."""
    said: dict[NoteKind, Iterable[str]] = {
        "run": dict.fromkeys(note for r in measured for note in r.notes),
        "cliff": context_cliff.notes(run.suite, measured, by_context=_by_context(measured)),
        "sustained": sustained.notes(run.suite, measured),
        "disk": _disk(run),
        "energy": energy_notes.notes(run.suite, measured),
    }
    for kind, texts in said.items():
        yield from (Note(kind=kind, text=text) for text in texts)


def _by_context(measured: Sequence[Measured]) -> str:
    """The engine, where it chooses LongRoPE's factors by the context; a run may name a backend that is gone."""
    name = measured[0].setup.backend if measured else ""
    backend = backends.load(name) if name in backends.names() else None
    return backend.ENGINE.title if backend and backend.ENGINE and backend.LONGROPE == "by_context" else ""


def _disk(run: Run) -> tuple[str, ...]:
    """How fast the disk is, beside times of loading from it."""
    disk = run.machine.storage
    if not run.suite.page_cache or disk is None:
        return ()
    return (f"the disk reads {units.gb(disk.read_bytes_s)}/s" if disk.read_bytes_s else f"disk: {disk.because}",)


def _reason(failed: Sequence[str], measured: int = 0) -> str | None:
    """Each reason once; ``failed``: that of every launch that failed."""
    if not failed:
        return None
    missing = f"{len(failed)} of {len(failed) + measured} launches failed: " if measured else ""
    return missing + "; ".join(dict.fromkeys(failed))


def _sampling_s(measured: Sequence[Measured]) -> float | None:
    """Median seconds of one repetition that went into choosing tokens."""
    known = [s.sampling_s for m in measured for s in m.samples if s.sampling_s is not None]
    return stats.median(known) if known else None


def _claimed(run: Run, measured: Sequence[Measured]) -> dict[str, Spread | None]:
    """The suite's metrics only: what was timed while something else was metered is nobody's to quote."""
    known = (name for name in run.suite.metrics if name in METRICS)
    return {name: stats.spread([winners.measured(name, m) for m in measured]) for name in known}


def _llama_bench(run: Run, result: Result) -> dict[str, Any]:
    """Every field of llama-bench: what the engine recorded under that name, then what we know better."""
    engine = result.engine if isinstance(result, Measured) else None
    said = {**engine.details, **engine.options} if engine else {}
    artifact, setup, workload = result.artifact, result.setup, result.workload
    cpus = [d.name for d in run.machine.devices if d.kind == "cpu"]
    others = [d.name for d in run.machine.devices if d.kind != "cpu"]
    return {key: _typed(said.get(key), kind) for key, kind in LLAMA_BENCH.items()} | {
        "cpu_info": ", ".join(cpus) or None,
        "gpu_info": ", ".join(others) or None,
        "model_filename": base_name(artifact.path) if artifact else None,
        "model_type": said.get("model_type", f"{setup.variant} {setup.quantization}"),
        "model_size": (artifact.bytes or None) if artifact else None,
        "model_n_params": artifact.parameters if artifact else None,
        "n_threads": result.threads,
        "n_prompt": workload.prompt_tokens,
        "n_gen": workload.new_tokens,
        "n_depth": workload.depth,
        "test_time": result.at or run.started,
    }


def _typed(text: str | None, kind: str) -> Any:
    """An engine's option, always text, in llama-bench's type; None where it does not say."""
    if text is None or kind == "TEXT":
        return text
    text = _WORDS.get(text.lower(), text)
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        return None
    return int(text) != 0 if kind == "BOOLEAN" else int(text)


def _timing(run: Run, measured: Sequence[Measured]) -> dict[str, Any]:
    """llama-bench's statistics, with the two-pass deviation that it lacks; None unless the suite times."""
    timed = measured if any(name in TIMED for name in run.suite.metrics) else []
    whole = [(m.workload, s) for m in timed for s in m.samples if complete(m.workload, s)]
    ns = [round(s.arrivals_s[-1] * 1e9) for _, s in whole]
    ts = [(w.prompt_tokens + w.new_tokens) * w.batch / s.arrivals_s[-1] for w, s in whole]
    stddev_ns = stats.sample_stdev(ns)
    return {
        "avg_ns": round(stats.mean(ns)) if ns else None,
        "stddev_ns": None if stddev_ns is None else round(stddev_ns),
        "avg_ts": stats.mean(ts) if ts else None,
        "stddev_ts": stats.sample_stdev(ts),
        "samples_ns": ns or None,
        "samples_ts": ts or None,
    }
