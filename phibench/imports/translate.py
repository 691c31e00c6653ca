"""A row of llama-bench or llama-batched-bench to setup, test and model, as ``phibench run`` would have named them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime

from phibench import backends, catalog
from phibench.catalog import plans
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Engine, Machine, Noun, Setup, Variant, Workload
from phibench.core.text import base_name
from phibench.imports import devices
from phibench.imports.llama_bench import Batched, Bench, Line

BACKEND, FORMAT = "llama_cpp", "gguf"  # llama-bench is a program of llama.cpp, so it is no other's
SAME_SIZE = 0.10  # mixes of other llama.cpp versions weigh up to some 5 % more or less
_OFFLOADED = 99  # llama-bench's word for all layers until -1 was
_OWN_FILE = re.compile(r"-[0-9a-f]{10}\.gguf$")  # as synth names its files
_RPC = "llama.cpp was built with RPC; no other machine is named, so none is taken to have computed"
OnNote = Callable[[str], None]


class ImportRequest(Noun, frozen=True, kw_only=True):
    """What the user says where the file does not."""

    variant: str | None = None
    quantization: str | None = None
    device: str | None = None
    machine: Machine | None = None


class Test(Noun, frozen=True, kw_only=True):
    """One row, understood. Rows that share all but samples and time are repetitions of one test."""

    build: str
    processor: str  # as the file names it; "": it does not
    others: str  # devices beside it
    setup: Setup
    workload: Workload
    artifact: Artifact
    threads: int
    engine: Engine
    seconds: tuple[float, ...]
    at: str = ""
    notes: tuple[str, ...] = ()


def tests_of(line: Line, request: ImportRequest, machine: Machine, name: str, on_note: OnNote) -> list[Test]:
    """What one row holds; empty, and ``on_note`` hears why, where a setup or a test of phibench cannot say it."""
    where = f"{name}, line {line.number}"
    if isinstance(line.row, Batched):
        return _batched(line.row, request, machine, where)
    row = line.row
    if why := _left_out(row):
        on_note(f"{where} is left out: {why}")
        return []
    variant = _variant(row, request, where)
    quantization = _quantization(row, variant, request, where)
    device, more = devices.device(row, request.device, where)
    setup = _setup(variant, quantization, device, row, machine, where)
    seconds = tuple(ns / 1e9 for ns in row.samples_ns) or (row.avg_ns / 1e9,)
    notes = [] if row.samples_ns else [_average(row)]
    notes += [_RPC] if devices.built_with_rpc(row) else []
    build = f"b{row.build_number} ({row.build_commit})" if row.build_commit not in ("", "unknown") else ""
    base = base_name(row.model_filename)
    artifact = Artifact(path=base, bytes=row.model_size, weights="synthetic" if _own(base, variant) else "real",
                        parameters=row.model_n_params)  # fmt: skip
    return [
        Test(
            build=build, processor=row.cpu_info.strip(), others=row.gpu_info.strip(), setup=setup, artifact=artifact,
            workload=Workload(prompt_tokens=row.n_prompt, new_tokens=row.n_gen, depth=row.n_depth),
            threads=row.n_threads, engine=_engine("llama-bench", build, device, row, more), seconds=seconds,
            at=_time(row.test_time), notes=tuple(notes),
        )
    ]  # fmt: skip


def _left_out(row: Bench) -> str | None:
    """Why a row is not what phibench could measure, in words."""
    architecture = row.model_type.split(" ")[0]
    if architecture not in ("phi2", "phi3", "phimoe"):
        return f"'{row.model_type}' is no Phi"
    if row.n_prompt and row.n_gen:
        return "prompt and answer in one time: when the first token came is not known"
    said = {
        "neither prompt nor new tokens": not row.n_prompt and not row.n_gen,
        "other machines too (RPC)": devices.other_machines(row),
        "embeddings": row.embeddings,
        "no_kv_offload": row.no_kv_offload,
        "n_cpu_moe": row.n_cpu_moe > 0,
        "tensor_buft_overrides": row.tensor_buft_overrides not in ("none", ""),
    }
    if changed := [key for key, value in said.items() if value]:
        return f"it ran with {', '.join(changed)}, which no setup of phibench says"
    if accelerator := devices.unknown(row):
        return f"it may have run on '{accelerator}', which is no device of phibench"
    several = re.search(", | \\+ ", row.gpu_info) and row.devices in ("auto", "")
    if row.split_mode != "none" and (several or "/" in row.devices):
        return "it may have run on several accelerators at once"
    return None


def _average(row: Bench) -> str:
    spread = f" (deviation {row.stddev_ns / 1e9:.3g} s)" if row.stddev_ns else ""
    return f"only the average of the repetitions was stored{spread}: it counts as one"


def _variant(row: Bench, request: ImportRequest, where: str) -> Variant:
    """By architecture and exact number of parameters, then by the file's name; ``-m`` decides what is left."""
    architecture = row.model_type.split(" ")[0]
    fitting = [v for v in catalog.variants() if v.shape and v.shape.architecture == architecture and _has(v, row)]
    if not fitting:
        raise PhibenchError(
            f"{where}: no Phi that phibench knows is '{row.model_type}' with {row.model_n_params} parameters; "
            "see phibench models"
        )
    if request.variant is not None:
        if request.variant not in [v.id for v in fitting]:
            raise PhibenchError(
                f"{where}: not {request.variant}; with {row.model_n_params} parameters it is one of "
                f"{', '.join(v.id for v in fitting)}"
            )
        return catalog.variant(request.variant)
    if len(fitting) == 1:
        return fitting[0]
    told = _word(base_name(row.model_filename))
    named = [(len(word), v) for v in fitting for word in _words(v) if word in told]
    if not named:
        raise PhibenchError(
            f"{where}: '{row.model_type}' with {row.model_n_params} parameters may be "
            f"{', '.join(v.id for v in fitting)}; say which with -m"
        )
    return max(named, key=lambda pair: pair[0])[1]


def _has(variant: Variant, row: Bench) -> bool:
    """llama.cpp counts every element of the file, LongRoPE's factors too."""
    if plans.objection(variant, FORMAT):
        return False
    return row.model_n_params == sum(
        math.prod(tensor.shape) for tensor in plans.plan(variant, "Q8_0", fmt=FORMAT).tensors
    )


def _words(variant: Variant) -> list[str]:
    return [_word(name.removeprefix("microsoft/")) for name in catalog.names(variant)]


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _own(base: str, variant: Variant) -> bool:
    """A synthetic file out of phibench's own cache."""
    return base.startswith(variant.id) and _OWN_FILE.search(base) is not None


def _quantization(row: Bench, variant: Variant, request: ImportRequest, where: str) -> str:
    if request.quantization is not None:
        return request.quantization
    said = row.model_type.split(" ", 2)[2] if row.model_type.count(" ") > 1 else ""
    try:
        found = catalog.quantization(_file_type(said), FORMAT).id
    except PhibenchError as error:
        raise PhibenchError(f"{where}: '{row.model_type}': {error}; or say which with -q") from None
    planned = plans.plan(variant, found, fmt=FORMAT).weights_bytes
    if row.model_size and abs(row.model_size / planned - 1) > SAME_SIZE:
        raise PhibenchError(
            f"{where}: {variant.id} in {found} weighs {planned} bytes, this model {row.model_size}; say which with -q"
        )
    return found


def _file_type(said: str) -> str:
    """llama.cpp's words (llama_model_ftype_name) to its names: ``mostly Q4_K - Medium`` is ``Q4_K_M``."""
    base, _, tail = said.removeprefix("mostly ").replace("(guessed)", "").strip().partition(" - ")
    if base == "IQ3_S mix":
        return "IQ3_M"
    if base == "Q2_K" and tail == "Medium":
        return "Q2_K"
    size = {"Small": "_S", "Medium": "_M", "Large": "_L"}.get(tail.strip(), "")
    return base.removeprefix("all ") + size


def _setup(
    variant: Variant, quantization: str, device: str, row: Bench | Batched, machine: Machine, where: str
) -> Setup:
    """With the options that are not the default, as ``phibench run`` would have written it."""
    assert variant.shape is not None
    whole = row.n_gpu_layers < 0 or row.n_gpu_layers >= min(_OFFLOADED, variant.shape.layers + 1)
    options = {
        "n_batch": str(row.n_batch),
        "n_ubatch": str(row.n_ubatch),
        "flash_attn": _flash(row.flash_attn),
        "type_k": _kv_type(row, "type_k"),
        "type_v": _kv_type(row, "type_v"),
    }
    if device == "cpu" or not whole:  # of a model that is all on the accelerator threads decide nothing
        options["threads"] = "" if row.n_threads == machine.limits.threads else str(row.n_threads)
    if device != "cpu" and not whole:
        options["n_gpu_layers"] = str(row.n_gpu_layers)
    defaults = backends.load(BACKEND).DEFAULTS
    setup = Setup(
        variant=variant.id, quantization=quantization, backend=BACKEND, device=device,
        options=tuple(sorted((k, v) for k, v in options.items() if defaults[k] != v)),
    )  # fmt: skip
    try:
        backends.check_options(setup)
    except PhibenchError as error:
        raise PhibenchError(f"{where}: {error}") from None
    return setup


def _flash(said: bool | int | str) -> str:
    """0 and 1, false and true, since 2025 -1 for auto."""
    return {"0": "off", "false": "off", "1": "on", "true": "on", "-1": "auto"}.get(str(said).lower(), str(said))


def _kv_type(row: Bench | Batched, key: str) -> str:
    if isinstance(row, Batched):
        return "f16"
    said: str = getattr(row, key)
    return said or ("f16" if row.f16_kv else "f32")


def _engine(tool: str, build: str, device: str, row: Bench | Batched, said: str) -> Engine:
    details = {"tool": tool}
    if isinstance(row, Bench):
        details |= {"build_commit": row.build_commit, "build_number": str(row.build_number), "backends": row.backends,
                    "model_type": row.model_type, "devices": row.devices, "split_mode": row.split_mode}  # fmt: skip
    options = {"n_batch": row.n_batch, "n_ubatch": row.n_ubatch, "n_gpu_layers": row.n_gpu_layers}
    return Engine(
        name="llama.cpp",
        version=build or "unknown build",
        placement=f"{device}, as {tool} says ({said}, n_gpu_layers {row.n_gpu_layers})",
        evidence=(f"imported from {tool}: phibench did not see it run",),
        options={key: str(value) for key, value in options.items()}
        | {"flash_attn": _flash(row.flash_attn), "type_k": _kv_type(row, "type_k"), "type_v": _kv_type(row, "type_v")},
        details={key: value for key, value in details.items() if value},
    )


def _batched(row: Batched, request: ImportRequest, machine: Machine, where: str) -> list[Test]:
    """Two tests a line. A prompt that all sequences share is processed once."""
    variant, quantization, device = _told(request, machine, where)
    setup = _setup(variant, quantization, device, row, machine, where)
    artifact = Artifact(path="", bytes=0, weights="real")
    engine = _engine("llama-batched-bench", "", device, row, "-dev" if request.device else "no other device")
    shared = ("the prompt was shared by all sequences and processed once",) if row.is_pp_shared else ()
    prompt = Workload(prompt_tokens=row.pp, new_tokens=0, batch=1 if row.is_pp_shared else row.pl)
    answer = Workload(prompt_tokens=0, new_tokens=row.tg, batch=row.pl, depth=row.pp)
    parts = [(prompt, row.t_pp)] if row.pp else []
    parts += [(answer, row.t_tg)] if row.tg else []
    if any(not took for _, took in parts):
        raise PhibenchError(f"{where}: a test took no time at all")
    return [
        Test(build="", processor="", others="", setup=setup, workload=workload, artifact=artifact,
             threads=row.n_threads, engine=engine, seconds=(took,), notes=shared)
        for workload, took in parts
    ]  # fmt: skip


def _told(request: ImportRequest, machine: Machine, where: str) -> tuple[Variant, str, str]:
    if request.variant is None or request.quantization is None:
        raise PhibenchError(
            f"{where}: llama-batched-bench does not say which model it ran; give -m VARIANT and -q QUANT"
        )
    if request.device is None and len(machine.devices) > 1:
        there = ", ".join(device.kind for device in machine.devices)
        raise PhibenchError(f"{where}: llama-batched-bench does not say where it ran; give -dev, one of {there}")
    return catalog.variant(request.variant), request.quantization, request.device or machine.devices[0].kind


def _time(said: str) -> str:
    """ISO 8601 in UTC, to the second; "" for anything else."""
    try:
        return f"{datetime.strptime(said, '%Y-%m-%dT%H:%M:%S%z'):%Y-%m-%dT%H:%M:%SZ}" if said.endswith("Z") else ""
    except ValueError:
        return ""
