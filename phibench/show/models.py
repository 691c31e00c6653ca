"""What ``phibench models`` shows: the family at a glance, one variant in detail, rows for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from phibench import backends, catalog
from phibench.backends.contract import Backend
from phibench.core import units
from phibench.core.nouns import Quantization, Variant
from phibench.show import tables
from phibench.show.tables import Column, column

CONTEXT = 8192  # shown where nothing is asked: what the goal chat keeps
PROMPT = 512  # tokens of the longest prompt that memory is reckoned for: what the suite memory measures
GLANCE = ("Q4_K_M", "Q8_0")  # of all the sizes, those of GGUF that the overview has room for, the dearest first
Row = dict[str, Any]


def text(name: str | None, context: int | None, output: str, width: int | None = None) -> str:
    """The command's output. ``table`` and ``md`` are for people, the other forms hold ``model_rows``.

    Raises PhibenchError (exit 2): unknown variant, context longer than any that it could be for.
    """
    chosen = (catalog.variant(name),) if name else catalog.variants()
    if context is not None:
        catalog.check_context(context, chosen)
    if output not in ("table", "md"):
        return tables.text(model_rows(chosen, context), output, name="phibench_models")
    return _page(chosen[0], context, output, width) if name else _overview(chosen, context, output, width)


# ---------------------------------------------------------------------------------------------- for programs


def model_rows(variants: Sequence[Variant], context: int | None = None) -> list[Row]:
    """One row per variant, quantization and format; what is not known is None and ``reason`` says why."""
    return [_row(v, q, context) for v in variants for q in catalog.quantizations()]


def _row(variant: Variant, quantization: Quantization, context: int | None) -> Row:
    runtime = _backend(quantization.format).runs(variant)
    weights, disk, reason = _bytes(variant, quantization)
    return {
        "variant": variant.id,
        "quantization": quantization.id,
        "format": quantization.format,
        "runs": runtime.runs if runtime else None,
        "weights_bytes": weights,
        "disk_bytes": disk,
        **_memory(variant, context),
        "needed_bytes": _needed(variant, quantization, context),
        "text_tower_only": _partial(variant),
        "max_context": variant.context_tokens,
        "parameters": variant.parameters,
        "parameters_active": variant.parameters_active,
        "quant_kld": quantization.kld,
        "license": variant.license,
        "good_at": list(variant.good_at),
        "reason": reason,
    }


def _memory(variant: Variant, context: int | None) -> Row:
    tokens = _context(variant, context)
    per_token = variant.kv_bytes_per_token_f16
    fits = tokens <= (variant.context_tokens or tokens)
    # A note on the KV cache says that not all of it grows with the context: no product then.
    known = per_token is not None and fits and not variant.kv_note
    return {
        "kv_bytes_per_token": per_token,
        "kv_bytes": per_token * tokens if known and per_token else None,
        "context": tokens,
    }


def _needed(variant: Variant, quantization: Quantization, context: int | None) -> int | None:
    """All memory that a process with this context needs: the arithmetic of ``run`` and ``recommend``."""
    tokens, backend, shape = _context(variant, context), _backend(quantization.format), variant.shape
    if shape is None or tokens > (variant.context_tokens or tokens) or backends.objection(backend, variant):
        return None
    plan = backends.plan(backend, variant, quantization.id)
    return backend.need(plan, shape, tokens, backend.DEFAULTS, min(PROMPT, tokens)).total_bytes


def _bytes(variant: Variant, quantization: Quantization) -> tuple[int | None, int | None, str | None]:
    """Weights, file, and why they are not known."""
    backend = _backend(quantization.format)
    if why := backends.objection(backend, variant):
        return None, None, why
    found = backends.plan(backend, variant, quantization.id)
    return found.weights_bytes, found.disk_bytes, None


def _backend(fmt: str) -> Backend:
    """Whose figures stand for a format."""
    return backends.for_format(fmt)[0]


def _partial(variant: Variant) -> bool:
    """The plan leaves out the encoders of images and sound."""
    return variant.modalities_in != ("text",)


def _context(variant: Variant, context: int | None) -> int:
    return context or min(CONTEXT, variant.context_tokens or CONTEXT)


# ------------------------------------------------------------------------------------------------ for people


def overview_rows(variants: Sequence[Variant], context: int | None = None) -> list[Row]:
    """One row per variant: the sizes of a few quantizations instead of all."""
    chosen = [catalog.quantization(name, "gguf") for name in GLANCE]
    return [
        {
            "variant": v.id,
            "parameters": v.parameters,
            "parameters_active": v.parameters_active,
            "max_context": v.context_tokens,
            "text_tower_only": _partial(v),
            **{q.id: _bytes(v, q)[1] for q in chosen},
            **_memory(v, context),
            "license": v.license,
            "good_at": list(v.good_at),
        }
        for v in variants
    ]


def detail(variant: Variant, context: int | None = None) -> list[tuple[str, str]]:
    """What is known of one variant, as label and text; each fact with its source or its doubt."""
    memory = _memory(variant, context)
    kv = _kv(memory) or tables.UNKNOWN
    per_token = variant.kv_bytes_per_token_f16
    lines = [
        ("repository", variant.hf_repo),
        ("names", ", ".join(variant.aliases)),
        ("licence", _noted(variant.license, variant.license_note)),
        ("released", _noted(variant.release, variant.release_source)),
        ("parameters", _noted(_parameters(variant.parameters, variant.parameters_active), variant.parameters_note)),
        ("context", f"{units.context(variant.context_tokens)} tokens" if variant.context_tokens else "not known"),
        ("KV cache", f"{kv}, {per_token} bytes per token (f16)" if per_token else "not known"),
        ("", variant.kv_note),
        ("input", ", ".join(variant.modalities_in)),
        ("languages", _noted(", ".join(variant.languages), variant.languages_source)),
        ("tool calling", {True: "yes", False: "no", None: "not known"}[variant.function_calling]),
        ("reasoning", _noted("yes" if variant.reasoning else "no", variant.reasoning_note)),
        ("good at", ", ".join(variant.good_at)),
        ("chat template", _noted(variant.chat_template.style, variant.chat_template.source)),
        ("", variant.chat_template.notes),
        ("shape", variant.shape_source),
        ("from memory", ", ".join(variant.from_memory)),
        *(("note", note) for note in variant.notes),
    ]
    return [(label, what) for label, what in lines if what]


def _noted(what: str | None, source: str | None) -> str:
    return f"{what or 'not known'} ({source})" if source else what or "not known"


def _parameters(total: int | None, active: int | None) -> str | None:
    if total is None:
        return None
    return (f"{active / 1e9:.2g} of " if active and active < total else "") + f"{total / 1e9:.3g} B"


def _kv(row: tables.Record) -> str | None:
    """The KV cache with the context that it is for."""
    size = _kv_alone(row)
    return size and f"{size} at {units.context(row['context'])}"


def _kv_alone(row: tables.Record) -> str | None:
    size = row["kv_bytes"]
    return None if size is None else units.gib(size)


def _overview(variants: Sequence[Variant], context: int | None, output: str, width: int | None) -> str:
    columns = [
        Column(title="variant", cell=lambda r: r["variant"], short=lambda r: r["variant"].removesuffix("-instruct")),
        Column(
            title="params",
            cell=lambda r: _parameters(r["parameters"], r["parameters_active"]),
            short=lambda r: _parameters(r["parameters"], None),
            right=True,
        ),
        *(_size(name, rank) for rank, name in enumerate(GLANCE)),
        column("max_context", "reads", units.context, right=True),
        Column(title="KV cache", cell=_kv, short=_kv_alone, right=True),
        column("good_at", "good at", " ".join),
    ]
    if output == "md":  # which has no caption
        columns.append(column("license", "licence"))
    caption = (
        "Parameters (of a mixture: active of all), GGUF file size (*: of the text tower alone), longest context, "
        f"KV cache in f16 at {units.context(context or CONTEXT)} or the longest context. {_licences(variants)}\n"
        "'phibench models VARIANT' shows every quantization, score and source."
    )
    return tables.text(overview_rows(variants, context), output, width, columns, caption)


def _licences(variants: Sequence[Variant]) -> str:
    """The usual licence once, then who has another."""
    usual, _ = Counter(v.license for v in variants).most_common(1)[0]
    others = [f"{v.id} ({v.license or 'not known'})" for v in variants if v.license != usual]
    return f"Licence: {usual}" + (f", but {', '.join(others)}." if others else ".")


def _size(name: str, rank: int) -> Column[tables.Record]:
    def cell(row: tables.Record) -> str | None:
        size = row[name]
        return None if size is None else units.gb(size) + ("*" if row["text_tower_only"] else "")

    return Column(title=name, cell=cell, right=True, rank=rank)


def _page(variant: Variant, context: int | None, output: str, width: int | None) -> str:
    """Facts, sizes, scores and runtimes of one variant, one below the other."""
    facts = [{"": label, variant.title: what} for label, what in detail(variant, context)]
    sizes = [row for row in model_rows([variant], context) if row["disk_bytes"] is not None]
    sizes.sort(key=lambda row: (catalog.formats().index(row["format"]), -row["disk_bytes"]))
    scores = [
        {"benchmark": s.benchmark, "points": f"{s.value:g}", "setting": s.setting, "source": s.source}
        for s in variant.scores
    ]
    runtimes = [{"runtime": r.name, "runs": r.runs, "note": r.note} for r in variant.runtimes]
    needed = f"needs at {units.context(_context(variant, context))}"
    size_columns = (
        column("quantization"),
        column("format", "for", lambda fmt: _backend(fmt).NAME),
        column("disk_bytes", "file", units.gb, right=True),
        column("weights_bytes", "weights", units.gib, right=True),
        column("needed_bytes", needed, units.gib, right=True),
        column("quant_kld", "loss (KLD, Llama-3-8B)", lambda kld: f"{kld:.4f}", right=True),
    )
    parts = [tables.text(facts, output, width)]
    parts += [tables.text(sizes, output, width, size_columns)] if sizes else []
    parts += [tables.text(scores, output, width)] if scores else []
    return "\n".join([*parts, tables.text(runtimes, output, width)])
