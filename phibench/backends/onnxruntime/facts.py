"""What is known of onnxruntime-genai without opening it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phibench.backends import untold
from phibench.backends.contract import LastFfn, LongRope
from phibench.backends.onnxruntime import engine, memory, providers, rates
from phibench.core.nouns import Need, Runtime, Shape, Variant, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NAME = "onnxruntime"
ALIASES: tuple[str, ...] = ()
FORMATS = ("onnx",)
KINDS = tuple(providers.PROVIDERS)
LONGROPE: LongRope = "by_length"
LAST_FFN: LastFfn = "all"
PACKAGE = "onnxruntime-genai"
PACKAGES = (PACKAGE, "onnxruntime")
ENGINE = engine.ENGINE
LIBRARIES = ("onnxruntime/capi", "onnxruntime_genai/")
EXTRA = "onnxruntime"
RECOMMENDABLE = True
TRAINS: tuple[str, ...] = ()
LEADS = True
RATES = rates.RATES
QUANTIZATION = "int4"
VERIFIED = ("fp32", "fp16", "int8", "int4", "int4-acc0")
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097),
    "chunk_size": range(1, 1 << 20),
    "graph_optimization": ("all", "extended", "basic", "off"),
    "prepacking": ("on", "off"),
}
DEFAULTS = {
    "threads": "",  # physical cores that the process may use
    "chunk_size": "",  # tokens of a prompt computed at once: all, or what the package says
    "graph_optimization": "all",
    "prepacking": "on",  # weights in layouts of the kernels, made when the model is opened
}
SAFE: tuple[dict[str, str], ...] = (
    {"graph_optimization": "basic"},
    {"graph_optimization": "off", "prepacking": "off"},
)
ROPE_SWITCH = 4097  # tokens; onnxruntime-genai, src/generators.cpp, InitializePhi3RopeThreshold
FILL = 512  # tokens of the depth computed at once

installed, devices, abilities = providers.installed, engine.devices, engine.abilities
advice, build_note, gpu_build = untold.advice, untold.build_note, untold.gpu_build


def runs(variant: Variant) -> Runtime | None:
    return variant.runtime("onnxruntime")  # the catalog's name of the engine


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    """Host memory of the process on a cpu, without file pages that the system can drop: see ``memory.py``.

    A prompt is computed whole unless ``chunk_size`` cuts it; a depth in parts, of several sequences whole, too. A
    sequence that grows to the switch of the factors is computed anew, whole.
    """
    reached = context if used is None else used
    in_parts = batch == 1 and memory.shares(plan)
    whole = reached if prompt is None else max(prompt, min(FILL, reached)) if in_parts else prompt or reached
    whole = min(whole, int(options.get("chunk_size") or whole))
    again = recomputed_at(shape) if batch == 1 else None
    if again is not None and reached >= again:
        whole = max(whole, again)
    return memory.need(
        plan,
        shape,
        context=context,
        reached=reached,
        prompt=whole,
        batch=batch,
        random=used is not None,
        prepacking=options.get("prepacking") != "off",
    )


def planned(plan: Plan, shape: Shape, workload: Workload, options: dict[str, str]) -> dict[str, int]:
    """The KV cache that genai_config.json's shapes make of ``max_length``; the engine says nothing else ahead."""
    size = need(plan, shape, workload.context, options, workload.prompt_tokens, workload.batch).kv_bytes
    return {"kv": size}


def recomputed_at(shape: Shape) -> int | None:
    """Of every model of type phi3, with or without LongRoPE: the engine asks for the type alone."""
    return ROPE_SWITCH if shape.architecture == "phi3" else None
