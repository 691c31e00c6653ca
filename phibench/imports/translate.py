"""A row of llama-bench or llama-batched-bench to setup, test and model, as ``phibench run`` would have named them."""

from __future__ import annotations

import re
from datetime import datetime

from phibench import backends, catalog
from phibench.core.errors import PhibenchError
from phibench.core.nouns import ARCHITECTURES, Artifact, Engine, Machine, Noun, Setup, Variant, Workload
from phibench.core.text import base_name
from phibench.imports import agreement, devices, models, names
from phibench.imports.llama_bench import Batched, Bench, Line

BACKEND = "llama_cpp"  # llama-bench is a program of llama.cpp, so it is no other's
_OFFLOADED = 99  # llama-bench's word for all layers until -1 was
_OWN_FILE = re.compile(r"-[0-9a-f]{10}\.gguf$")  # as synth names its files
_RPC = "llama.cpp was built with RPC; no other machine is named, so none is taken to have computed"


class ImportRequest(Noun, frozen=True, kw_only=True):
    """What the user says where the file does not."""

    variant: str | None = None
    quantization: str | None = None
    device: str | None = None
    machine: Machine | None = None


class Test(Noun, frozen=True, kw_only=True):
    """One row, understood. Rows that share all but samples and time are repetitions of one test."""

    line: int
    build: str
    processor: str = ""  # as the file names it; "": it does not
    gpus: tuple[str, ...] = ()  # that computed, as the file names them
    setup: Setup
    workload: Workload
    artifact: Artifact
    threads: int
    engine: Engine
    seconds: tuple[float, ...]
    at: str = ""
    notes: tuple[str, ...] = ()


def tests_of(line: Line, request: ImportRequest, machine: Machine) -> list[Test]:
    """What one row holds. Raises PhibenchError, why, where a setup or a test of phibench cannot say it."""
    row = line.row
    if isinstance(row, Batched):
        return _batched(row, line, request, machine)
    if why := _left_out(row):
        raise PhibenchError(why)
    variant, notes = models.variant(row, request.variant)
    quantization = request.quantization or models.quantization(row, variant)
    device, more = devices.device(row, request.device)
    setup = _setup(variant, quantization, device, row, machine)
    seconds = tuple(ns / 1e9 for ns in row.samples_ns) or (row.avg_ns / 1e9,)
    notes += () if row.samples_ns else (_average(row),)
    notes += _doubts(line)
    notes += (_RPC,) if devices.built_with_rpc(row) else ()
    build = f"b{row.build_number} ({row.build_commit})" if row.build_commit not in ("", "unknown") else ""
    base = base_name(row.model_filename)
    artifact = Artifact(path=base, bytes=row.model_size, weights="synthetic" if _own(base, variant) else "real",
                        parameters=row.model_n_params)  # fmt: skip
    return [
        Test(
            line=line.number, build=build, processor=names.processor(row.cpu_info), gpus=devices.gpus(row),
            setup=setup, artifact=artifact, threads=row.n_threads, seconds=seconds, at=_time(row.test_time),
            workload=Workload(prompt_tokens=row.n_prompt, new_tokens=row.n_gen, depth=row.n_depth),
            engine=_engine("llama-bench", build, device, row, more), notes=notes,
        )
    ]  # fmt: skip


def _left_out(row: Bench) -> str | None:
    """Why a row is not what phibench could measure, in words."""
    architecture = row.model_type.split(" ")[0]
    if architecture not in ARCHITECTURES:
        return f"'{row.model_type}' is not a Phi"
    if row.n_prompt and row.n_gen:
        return "prompt and answer were timed together: when the first token came is not known"
    said = {
        "neither prompt nor new tokens": not row.n_prompt and not row.n_gen,
        "other machines too (RPC)": devices.other_machines(row),
        "embeddings": row.embeddings,
        "no_kv_offload": row.no_kv_offload,
        "n_cpu_moe": row.n_cpu_moe > 0,
        "tensor_buft_overrides": row.tensor_buft_overrides not in ("none", ""),
    }
    if changed := [key for key, value in said.items() if value]:
        return f"it ran with {', '.join(changed)}, which no phibench setup can express"
    return devices.objection(row)


def _average(row: Bench) -> str:
    spread = f" (deviation {row.stddev_ns / 1e9:.3g} s)" if row.stddev_ns else ""
    return f"only the average of the repetitions was stored{spread}: it counts as one"


def _own(base: str, variant: Variant) -> bool:
    """A synthetic file out of phibench's own cache."""
    return base.startswith(variant.id) and _OWN_FILE.search(base) is not None


def _setup(variant: Variant, quantization: str, device: str, row: Bench | Batched, machine: Machine) -> Setup:
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
    backends.check_options(setup)
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


def _doubts(line: Line) -> tuple[str, ...]:
    return tuple(filter(None, (agreement.doubt(line.value, line.row),)))


def _batched(row: Batched, line: Line, request: ImportRequest, machine: Machine) -> list[Test]:
    """Two tests a line. A prompt that all sequences share is processed once."""
    variant, quantization, device = _told(request, machine)
    setup = _setup(variant, quantization, device, row, machine)
    artifact = Artifact(path="", bytes=0, weights="real")
    engine = _engine("llama-batched-bench", "", device, row, "-dev" if request.device else "no other device")
    shared = ("the prompt was shared by all sequences and processed once",) if row.is_pp_shared else ()
    prompt = Workload(prompt_tokens=row.pp, new_tokens=0, batch=1 if row.is_pp_shared else row.pl)
    answer = Workload(prompt_tokens=0, new_tokens=row.tg, batch=row.pl, depth=row.pp)
    parts = [(prompt, row.t_pp)] if row.pp else []
    parts += [(answer, row.t_tg)] if row.tg else []
    if any(not took for _, took in parts):
        raise PhibenchError("a test took no time at all")
    return [
        Test(line=line.number, build="", setup=setup, workload=workload, artifact=artifact, threads=row.n_threads,
             engine=engine, seconds=(took,), notes=(*shared, *_doubts(line)))
        for workload, took in parts
    ]  # fmt: skip


def _told(request: ImportRequest, machine: Machine) -> tuple[Variant, str, str]:
    if request.variant is None or request.quantization is None:
        raise PhibenchError("llama-batched-bench does not say which model it ran; give -m VARIANT and -q QUANT")
    if request.device is None and len(machine.devices) > 1:
        there = ", ".join(device.kind for device in machine.devices)
        raise PhibenchError(f"llama-batched-bench does not say where it ran; give -dev, one of {there}")
    return catalog.variant(request.variant), request.quantization, request.device or machine.devices[0].kind


def _time(said: str) -> str:
    """ISO 8601 in UTC, to the second; "" for anything else."""
    try:
        return f"{datetime.strptime(said, '%Y-%m-%dT%H:%M:%S%z'):%Y-%m-%dT%H:%M:%SZ}" if said.endswith("Z") else ""
    except ValueError:
        return ""
