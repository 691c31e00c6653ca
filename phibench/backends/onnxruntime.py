"""ONNX Runtime through onnxruntime-genai, Microsoft's own loop over it.

The next token is chosen inside the engine (greedy, in C++): a step is one ``generate_next_token``, and its argmax
cannot be told apart from the run before it. So ``sampling_s`` is None and a step contains it: 0.2 ms for the 200,064
words of Phi-4-mini (docs/onnxruntime.md). ``max_length`` is always the workload's, plus one place for the token chosen
last: a package's own would make room for the model's whole context. ``min_length`` is the same, so no end-of-text
token stops a run.

Models of type phi3 hold one surprise, which is measured and not hidden: when a sequence grows to 4097 tokens step by
step, the engine forgets its KV cache and computes it anew, since LongRoPE factors change there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phibench.catalog import genai
from phibench.errors import FAILED, PhibenchError
from phibench.nouns import Engine, Job, Need, Shape, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phibench.catalog.plan import Plan

NAME = "onnxruntime"
FORMATS = ("onnx",)
MODALITIES = ("text",)
PACKAGE = "onnxruntime-genai"
EXTRA = "onnxruntime"
RECOMMENDABLE = True
QUANTIZATION = "int4"
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097),
    "chunk_size": range(1, 1 << 20),
}
DEFAULTS = {
    "threads": "",  # physical cores that the process may use
    "chunk_size": "",  # tokens of a prompt computed at once: all, or what the package says
}


class Provider(NamedTuple):
    """An execution provider: its name in genai_config.json, in ONNX Runtime, and the files that bring it."""

    name: str
    full: str
    libraries: tuple[str, ...]  # globs, one file of each; the provider's own first
    options: tuple[tuple[str, str], ...] = ()
    pick: str = ""  # the option that says which of several devices


PROVIDERS: dict[str, tuple[Provider, ...]] = {  # kind of device -> what can reach it; the first that is here does
    "cpu": (),
    "cuda": (
        Provider(
            "cuda", "CUDAExecutionProvider", ("*onnxruntime_providers_cuda*", "*onnxruntime-genai-cuda*"),
            pick="device_id",
        ),
    ),
    "dml": (Provider("DML", "DmlExecutionProvider", ("DirectML.dll",), pick="device_index"),),
    "xpu": (Provider("OpenVINO", "OpenVINOExecutionProvider", ("*providers_openvino*",), (("device_type", "GPU"),)),),
    "npu": (
        Provider("OpenVINO", "OpenVINOExecutionProvider", ("*providers_openvino*",), (("device_type", "NPU"),)),
        Provider("QNN", "QNNExecutionProvider", ("*providers_qnn*",), (("backend_type", "htp"),)),
        Provider("VitisAI", "VitisAIExecutionProvider", ("*providers_vitisai*",)),
    ),
    "webgpu": (Provider("WebGPU", "WebGpuExecutionProvider", ("*providers_webgpu*",)),),
    "coreml": (Provider("CoreML", "CoreMLExecutionProvider", ("libonnxruntime*.dylib",)),),
}  # fmt: skip
KINDS = tuple(PROVIDERS)
_NUMBERED = ("cuda", "xpu")  # kinds whose device texts carry a number
_MODULES = ("onnxruntime", "onnxruntime_genai")
_PLUGINS = ("onnxruntime_ep_webgpu", "onnxruntime_ep_openvino", "onnxruntime_qnn")  # providers in packages of their own
_DISTRIBUTIONS = {
    "onnxruntime": ("", "-gpu", "-directml", "-openvino", "-qnn", "-webgpu", "-windowsml"),
    "onnxruntime-genai": ("", "-cuda", "-directml", "-winml"),
}
_ROPE_SWITCH = 4097  # tokens; onnxruntime-genai, src/generators.cpp, InitializePhi3RopeThreshold
_FILL = 512  # tokens of the depth computed at once
_CPU = "CPUExecutionProvider"
_HEAVY = re.compile(r"MatMul|Gemm|Attention|Fused|_")  # and what a provider compiled into one node
_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}  # of an element, without scales
# Bytes that ONNX Runtime packs for a byte of the file, read from processes on x86-64 (docs/onnxruntime.md): for a block
# of 32 weights its scale and their sum; without activations in int8 the weights alone; fp16 becomes fp32
_PACKED = {"int4": 24 / 20, "int4-acc0": 16 / 20, "int8": 40 / 36, "fp16": 2.0}
_FFN_STATES = {"phi2": 4, "phi3": 5}  # rows of feed-forward width alive at once, read from processes, too
_RUNTIME_BYTES = 100 << 20  # Python, numpy and the libraries
_MAX_PROFILE_BYTES = 64 << 20  # one run of the largest Phi has some 500 nodes, 600 bytes each


def installed() -> str | None:
    """``0.18.0, onnxruntime 1.32.0``: both packages must be there."""
    if any(importlib.util.find_spec(module) is None for module in _MODULES):
        return None
    return f"{_version('onnxruntime-genai')}, onnxruntime {_version('onnxruntime')}"


def _version(package: str) -> str:
    for tail in _DISTRIBUTIONS[package]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package + tail)
    return "unknown"


def devices() -> tuple[str, ...]:
    if installed() is None:
        return ()
    built = (kind for kind in KINDS if kind == "cpu" or _provider(kind))
    return tuple(f"{kind}:0" if kind in _NUMBERED else kind for kind in built)


def _provider(kind: str) -> tuple[Provider, Path] | None:
    """The first provider of this kind of device that is installed, and its library."""
    folders = tuple(_folders())
    for provider in PROVIDERS[kind]:
        found = [next((file for folder in folders for file in folder.glob(one)), None) for one in provider.libraries]
        if found[0] is not None and all(found):
            return provider, found[0]
    return None


def _folders() -> Iterator[Path]:
    """Where libraries of execution providers lie."""
    for module in (*_MODULES, *_PLUGINS):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent
            yield Path(spec.origin).parent / "capi"


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    """Host memory of the process on a cpu, without file pages that the system can drop.

    Weights lie in mapped files; what counts are the copies that ONNX Runtime packs for its kernels: with a sum per
    block for activations in int8, in fp32 for fp16. Room for ``max_length`` tokens is made at once where past and
    present share it; where they do not, both exist for a moment, and so do the scores of all heads. A prompt is
    computed whole, with logits of all its tokens where the graph keeps them, unless ``chunk_size`` cuts it; so is the
    sequence that grows to the switch of the factors. Checked against real processes (docs/onnxruntime.md).
    """
    del used
    options = {**DEFAULTS, **options}
    again = recomputed_at(shape) or 0
    whole = context if prompt is None else max(prompt, _FILL, again if context >= again else 0)
    prompt = min(context, int(options["chunk_size"] or context), whole)
    shared = plan.facts.get("kv_buffer", "grown" if plan.facts["kv_type"] == "fp16" else "shared") == "shared"
    per_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * _BYTES[plan.facts["kv_type"]]
    kv = per_token * (context + 1) * batch * plan.layers / plan.of_layers
    weights, passing = _weights(plan)
    width = 6 if plan.facts["kv_type"] == "fp16" else 4  # the graph's, and then in fp32
    logits = (prompt if plan.facts["logits"] == "all" else 1) * shape.vocab * width
    scores = 0 if shared else 2 * shape.heads * prompt * prompt * 4
    projected = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    states = prompt * 4 * (3 * shape.hidden + _FFN_STATES[shape.architecture] * shape.ffn + 2 * projected)
    return Need(
        weights_bytes=weights,
        kv_bytes=round(kv if shared else 2 * kv),
        compute_bytes=max(logits + states + scores, passing),
        runtime_bytes=_RUNTIME_BYTES,
        because=f"packed weights, KV cache of {context + 1} tokens in {plan.facts['kv_type']}, "
        f"{'logits' if plan.facts['logits'] == 'all' else 'states'} of {prompt} tokens",
    )


def _weights(plan: Plan) -> tuple[int, int]:
    """(bytes that stay in memory, bytes that only opening needs).

    The tables of LongRoPE are constants in the branches of an If: two copies stay, two more exist while it is opened.
    An embedding that is the head too is reshaped for the lookup: one more copy, of a quantized one without its scales.
    """
    stay = passing = 0
    for tensor in plan.tensors:
        if tensor.name.endswith(("_cache_small", "_cache_large")):
            stay += 2 * tensor.bytes
            passing += 2 * tensor.bytes
        elif tensor.name == plan.embedding and not plan.tied:
            continue  # rows are read from the mapped file
        elif len(tensor.shape) > 1:
            stay += round(tensor.bytes * _PACKED.get(plan.quantization, 1.0))
            if tensor.name == plan.head and plan.tied:
                stay += round(math.prod(tensor.shape) * _BYTES[tensor.type])
    return stay, passing


def recomputed_at(shape: Shape) -> int | None:
    """Of every model of type phi3, with or without LongRoPE: the engine asks for the type alone."""
    return _ROPE_SWITCH if shape.architecture == "phi3" else None


@contextmanager
def session(job: Job) -> Iterator[_Session]:
    opened = _Session(job)
    try:
        yield opened
    finally:
        opened.close()


class _Session:
    """One open model, and one generator at a time: each workload gets a KV cache of its own size."""

    def __init__(self, job: Job) -> None:
        import numpy as np
        import onnxruntime_genai as og

        self._np, self._og = np, og
        if hasattr(og, "disable_telemetry_events"):
            og.disable_telemetry_events()
        self._job = job
        self._options = {**DEFAULTS, **dict(job.setup.options)}
        self._config = read_config(Path(job.artifact.path))
        self._ids = np.setdiff1d(np.arange(self._config.vocab, dtype=np.int32), self._config.special)
        self._random = np.random.default_rng(0)
        self._generator: Any = None
        self._size = 0
        self._filled = 0
        self._begun = False
        self.sampling_s = None
        name = Path(job.artifact.path).name
        with _saying(f"cannot open {name} on {job.setup.device}"):
            self._model = og.Model(self._engine_config())
        with _saying(f"cannot run {name}"):
            self._nodes = self._profile()
        self._check_device()

    def _engine_config(self) -> Any:
        """The package's own configuration with threads and device as asked for."""
        kind, _, index = self._job.setup.device.partition(":")
        if kind not in KINDS:
            raise PhibenchError(f"onnxruntime has no device '{kind}'; there are: {', '.join(KINDS)}")
        config = self._og.Config(self._job.artifact.path)
        threads = {"intra_op_num_threads": self._job.threads, "inter_op_num_threads": 1}
        room = {"context_length": self._config.context + 1}  # for the token that is chosen last
        config.overlay(json.dumps({"model": {**room, "decoder": {"session_options": threads}}}))
        config.clear_providers()
        if kind != "cpu":
            found = _provider(kind)
            if found is None:
                raise PhibenchError(f"fallback: onnxruntime as it is installed here cannot use {kind}", FAILED)
            provider, library = found
            if index not in ("", "0") and not provider.pick:
                raise PhibenchError(f"onnxruntime cannot choose among devices of {provider.full}: ask for {kind}:0")
            if library.parent.name in _PLUGINS:
                _register(provider.full, str(library))
            config.append_provider(provider.name)
            for key, value in provider.options:
                config.set_provider_option(provider.name, key, value)
            if provider.pick and index:
                config.set_provider_option(provider.name, provider.pick, index)
        return config

    def _make(self, size: int) -> Any:
        """A generator with room for ``size`` tokens."""
        params = self._og.GeneratorParams(self._model)
        chunk = {"chunk_size": int(self._options["chunk_size"])} if self._options["chunk_size"] else {}
        params.set_search_options(
            max_length=size, min_length=size, batch_size=1, num_beams=1, do_sample=False, repetition_penalty=1.0,
            no_repeat_ngram_size=0, **chunk,
        )  # fmt: skip
        self._search = params.get_search_options()
        return self._og.Generator(self._model, params)

    def _profile(self) -> Counter[tuple[str, str]]:
        """(provider, operator) of every node that one run of two tokens executes. Untimed, profiled by ONNX Runtime."""
        generator = self._make(4)
        with tempfile.TemporaryDirectory(prefix="phibench-") as folder:
            generator.set_runtime_option("enable_profiling", str(Path(folder) / "run"))
            generator.append_tokens(self._ids[:2])
            generator.set_runtime_option("enable_profiling", "0")
            written = sorted(Path(folder).iterdir())
            return nodes(written[0].read_bytes() if written else b"")

    def begin(self, workload: Workload) -> None:
        if workload.batch != 1:
            raise PhibenchError("the onnxruntime backend runs one sequence at a time")
        if workload.context > self._config.context:
            raise PhibenchError(
                f"{Path(self._job.artifact.path).name} has a context of {self._config.context} tokens, "
                f"the test needs {workload.context}"
            )
        with _saying(f"cannot make room for {workload.context} tokens"):
            self._room(workload.context + 1, workload.depth)
        part = _FILL if self._shares else workload.depth
        while self._filled < workload.depth:  # in parts: a graph that keeps all logits would need room for them
            count = min(part, workload.depth - self._filled)
            self._append(self._draw(count))
            self._filled += count
        self._begun = False

    def _room(self, size: int, depth: int) -> None:
        """A generator of that size that holds either nothing or exactly the depth."""
        if self._size != size:
            self._generator = None  # first give the old cache back
            self._generator, self._size, self._filled = self._make(size), size, 0
        recomputed = self._filled < _ROPE_SWITCH < self._generator.token_count()
        if self._filled != depth or recomputed:
            self._filled = 0
        self._generator.rewind_to(self._filled)

    def prefill(self, tokens: int) -> None:
        one_by_one = self._filled and not self._shares
        behind = f" behind {self._filled}, where its graph takes one at a time" if one_by_one else ""
        self._append(self._draw(tokens), behind)
        self._choose()

    def step(self) -> None:
        if not self._begun:  # nothing is waiting to be computed: start from a token, as llama-bench does
            self._append(self._draw(1))
        self._choose()

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        """Logits after the prompt and after each token of ``then``; see the promise in ``backends``."""
        self.begin(Workload(prompt_tokens=len(prompt), new_tokens=len(then) + 1))
        self._append(self._np.asarray(prompt, self._np.int32))
        rows = [self._generator.get_logits().reshape(-1)]
        for done, _ in enumerate(then, 1):
            seen = [*prompt, *then[:done]]
            if len(seen) == _ROPE_SWITCH:  # what generate_next_token does there
                self._generator.rewind_to(0)
                self._append(self._np.asarray(seen, self._np.int32))
            else:
                self._append(self._np.asarray(seen[-1:], self._np.int32))
            rows.append(self._generator.get_logits().reshape(-1))
        return self._np.stack(rows)

    def _draw(self, count: int) -> Any:
        """Random token ids; none that the package calls padding or end, which the engine would treat apart."""
        return self._ids[self._random.integers(len(self._ids), size=count)]

    @property
    def _shares(self) -> bool:
        """Whether past and present keys share their room: so they do where attention is GroupQueryAttention."""
        return bool(self._search["past_present_share_buffer"])

    def _append(self, ids: Any, behind: str = "") -> None:
        """Compute ``ids`` behind what is there; their last logits are ready when it returns."""
        with _saying(f"failed to compute {len(ids)} tokens{behind}"):
            self._generator.append_tokens(ids)
        self._begun = True

    def _choose(self) -> None:
        """The next token, on the host: of logits that are ready, or of a run over the token chosen before."""
        with _saying("failed to compute a token"):
            self._generator.generate_next_token()
            self._generator.get_next_tokens()

    @property
    def engine(self) -> Engine:
        import onnxruntime

        return Engine(
            name=NAME,
            version=installed() or "unknown",
            placement=placement(self._nodes),
            evidence=evidence(self._nodes),
            options={
                "intra_op_num_threads": str(self._job.threads),
                "inter_op_num_threads": "1",
                "max_length": str(self._size),
                "chunk_size": f"{self._search['chunk_size']:.0f}",  # 0: the whole prompt at once
                "past_present_share_buffer": "on" if self._shares else "off",
            },
            details={
                "device_type": self._model.device_type,
                "model_type": self._model.type,
                "providers": ", ".join(onnxruntime.get_available_providers()),
            },
        )

    def _check_device(self) -> None:
        """A silent fallback is never a measurement of the device that was asked for."""
        kind = self._job.setup.device.partition(":")[0]
        found = _provider(kind) if kind != "cpu" else None
        if found and (why := fallback(self._nodes, found[0].full)):
            raise PhibenchError(f"fallback: asked for {self._job.setup.device}, but {why}", FAILED)

    def close(self) -> None:
        self._generator = None
        self._model = None


@functools.cache  # a process can register a library only once
def _register(provider: str, library: str) -> None:
    import onnxruntime_genai as og

    og.register_execution_provider_library(provider, library)


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """The engine's errors as one line."""
    try:
        yield
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PhibenchError(f"onnxruntime-genai {what}: {first[:300]}", FAILED) from None


class Config(NamedTuple):
    """What of genai_config.json a session must know."""

    vocab: int
    context: int
    special: tuple[int, ...]  # ids of padding and end


def read_config(folder: Path) -> Config:
    """The engine reads the same file, so nothing is opened that :func:`genai.read` refuses (exit 2).

    Raises PhibenchError (exit 1) when the folder has no genai_config.json that says this.
    """
    path = folder / "genai_config.json"
    try:
        model = genai.read(path)["model"]
        ends = model.get("eos_token_id", [])
        special = (model["pad_token_id"], *(ends if isinstance(ends, list) else [ends]))
        found = Config(int(model["vocab_size"]), int(model["context_length"]), tuple(int(i) for i in special))
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {error.strerror or error}", FAILED) from None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise PhibenchError(f"{path} is not a configuration of onnxruntime-genai", FAILED) from None
    if not 2 < found.vocab < 1 << 24 or not 0 < found.context < 1 << 30:
        raise PhibenchError(f"{path} says {found.vocab} words and a context of {found.context}", FAILED)
    return found


def nodes(profile: bytes) -> Counter[tuple[str, str]]:
    """(provider, operator) -> nodes executed, from a profile that ONNX Runtime wrote; empty where it says nothing."""
    try:
        events = json.loads(profile) if len(profile) <= _MAX_PROFILE_BYTES else []
    except (ValueError, RecursionError):
        return Counter()
    return Counter(
        (event["args"].get("provider", ""), event["args"].get("op_name", ""))
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )


def placement(found: Counter[tuple[str, str]]) -> str:
    """Where the nodes ran, and which of the heavy ones a device left to the cpu."""
    text = _counts(found)
    on_cpu = Counter({op: n for (provider, op), n in found.items() if provider == _CPU and _HEAVY.search(op)})
    if on_cpu and any(provider not in (_CPU, "") for provider, _ in found):
        text += "; partial fallback to the cpu: " + ", ".join(f"{n} {op}" for op, n in on_cpu.most_common())
    return text


def _counts(found: Counter[tuple[str, str]]) -> str:
    """``CPUExecutionProvider 27 nodes (13 of 13 matrix products and attentions)``, most first."""
    by_provider: Counter[str] = Counter()
    heavy: Counter[str] = Counter()
    for (provider, operator), count in found.items():
        by_provider[provider] += count
        heavy[provider] += count * bool(_HEAVY.search(operator))
    return "; ".join(
        f"{provider} {count} nodes ({heavy[provider]} of {heavy.total()} matrix products and attentions)"
        for provider, count in by_provider.most_common()
    )


def evidence(found: Counter[tuple[str, str]]) -> tuple[str, ...]:
    """One line for each provider: what it executed in one run, as ONNX Runtime's profile says."""
    lines = []
    for provider in sorted({provider for provider, _ in found}):
        of_it = Counter({operator: count for (name, operator), count in found.items() if name == provider})
        lines.append(f"{provider}: " + ", ".join(f"{count} {operator}" for operator, count in of_it.most_common()))
    return tuple(lines)


def fallback(found: Counter[tuple[str, str]], wanted: str) -> str | None:
    """Why this run was none of ``wanted``: it executed nothing, or fewer heavy nodes than the cpu."""
    ran = {name: sum(n for (p, op), n in found.items() if p == name and _HEAVY.search(op)) for name in (wanted, _CPU)}
    if not any(provider == wanted for provider, _ in found):
        return f"{wanted} executed no node: {_counts(found) or 'the profile says nothing'}"
    if ran[_CPU] > ran[wanted]:
        return f"most matrix products and attentions ran on the cpu: {_counts(found)}"
    return None
