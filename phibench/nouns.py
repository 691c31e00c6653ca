"""Every value that crosses a module or a file: frozen records without effects.

Units are in the names (``_s`` seconds, ``_bytes``, ``_tps`` tokens per second); SI base units inside.
Unknown is ``None``, never zero.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal

import msgspec

SCHEMA = 1
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]  # bytes, tokens
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]
Rate = Annotated[float, msgspec.Meta(ge=1.0, le=1e18)]  # per second; below one is a slip of the pen
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # more than 31 years is a damaged file


class Noun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen record; making one has no effects."""


# ---------------------------------------------------------------------------------------------- machines


class Device(Noun, frozen=True, kw_only=True):
    """One thing that can run a model. ``kind`` is the device text of a setup: ``cpu``, ``cuda:0``, ``npu``, ...

    Measured and data sheet stand apart: ``read_bytes_s`` with its ``basis`` is what predictions use,
    ``spec_read_bytes_s`` what clocks and bus width promise; ``matrix_flops_s`` is measured, by data type,
    ``flops_s`` is the data sheet's.
    """

    kind: str
    name: str
    memory_bytes: Count | None = None
    free_bytes: Count | None = None
    shares_memory: bool = False  # integrated: its memory is a part of the machine's, never added to it
    read_bytes_s: Rate | None = None
    flops_s: Rate | None = None
    basis: Literal["probed", "spec"] | None = None  # where read_bytes_s comes from
    because: str = ""  # how read_bytes_s was found, or why it is unknown, in words
    copy_bytes_s: Rate | None = None  # bytes read and bytes written, together
    spec_read_bytes_s: Rate | None = None
    matrix_flops_s: dict[str, Rate] = {}
    driver: str = ""
    facts: dict[str, str] = {}  # what the driver says of it, as text: clocks, power limit, throttle reasons, ...
    notes: tuple[str, ...] = ()  # what a person should know before using it


class Cache(Noun, frozen=True, kw_only=True):
    """``count`` equal caches of a level, each counted once however many cpus share it."""

    level: AtLeastOne
    kind: Literal["data", "instruction", "unified"] = "unified"
    bytes: Count  # of one of them
    count: AtLeastOne = 1


class Processor(Noun, frozen=True, kw_only=True):
    """What the cpu of a machine is made of and how it is set; None and empty where the system does not say."""

    vendor: str = ""
    sockets: AtLeastOne | None = None
    performance_cores: AtLeastOne | None = None  # physical; with efficiency_cores: all
    efficiency_cores: Count | None = None
    instruction_sets: tuple[str, ...] = ()
    caches: tuple[Cache, ...] = ()
    numa_nodes: AtLeastOne | None = None
    governor: str | None = None
    energy_preference: str | None = None
    platform_profile: str | None = None
    turbo: bool | None = None
    max_hz: Rate | None = None
    huge_pages: str | None = None  # transparent huge pages: always, madvise, never
    hypervisor: str | None = None  # KVM, WSL2, ...
    container: str | None = None  # docker, podman, ...
    emulated: str | None = None  # "x86_64 Python on an arm64 machine"


class Storage(Noun, frozen=True, kw_only=True):
    """The disk under the cache folder."""

    free_bytes: Count | None = None
    read_bytes_s: Rate | None = None
    because: str = ""  # how it was measured, or why not


class Source(Noun, frozen=True, kw_only=True):
    """One place where energy or power can be read; ``readable`` now, by this process."""

    name: str
    scope: Literal["cpu_package", "cpu_core", "dram", "gpu_board", "gpu_die", "soc", "system_dc", "system_ac"]
    method: Literal["counter", "power"]
    readable: bool
    because: str = ""  # why it cannot be read, and the one line that changes that


class Installed(Noun, frozen=True, kw_only=True):
    """A backend as it is installed here; ``version`` None: it is not, and ``install`` is the line that does it."""

    backend: str
    package: str
    version: str | None = None
    devices: tuple[str, ...] = ()  # kinds that this build can use
    features: tuple[str, ...] = ()  # what the build was made with: instruction sets, providers
    install: str = ""
    notes: tuple[str, ...] = ()


class Limits(Noun, frozen=True, kw_only=True):
    """What this process may really use: machine, affinity and cgroup (own and all ancestors) together."""

    cpus: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    threads: AtLeastOne
    memory_bytes: Count
    free_bytes: Count
    swap_bytes: Count | None = None  # a model that swaps says nothing, so no decision counts on it
    notes: tuple[str, ...] = ()


class Machine(Noun, frozen=True, kw_only=True):
    """A machine, probed or described in a file."""

    name: str
    os: str
    arch: str
    physical_cores: AtLeastOne
    logical_cores: AtLeastOne
    memory_bytes: Count
    devices: tuple[Device, ...]
    limits: Limits
    processor: Processor | None = None
    storage: Storage | None = None
    power: Literal["mains", "battery"] | None = None
    energy: tuple[Source, ...] = ()
    backends: tuple[Installed, ...] = ()

    @property
    def identity(self) -> str:
        """What makes two results comparable; never a measured field, a host name or a kernel version."""
        devices = ",".join(f"{d.kind}={d.name}" for d in self.devices)
        gib = 1 << 30
        return "|".join(
            (
                self.os,
                self.arch,
                devices,
                f"{self.physical_cores}/{self.logical_cores} cores",
                f"{round(self.memory_bytes / gib)} GiB",
                f"{self.limits.cpus:g} cpus",
                f"{round(self.limits.memory_bytes / gib)} GiB usable",
            )
        )

    @property
    def slug(self) -> str:
        """Folder name under results/: hardware words and a short hash of the identity."""
        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:6]
        first = self.devices[0].name if self.devices else self.arch
        words = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")[:40].strip("-")
        gib = round(self.memory_bytes / (1 << 30))
        return f"{words or self.arch}-{self.limits.cpus:g}cpu-{gib}gib-{digest}"

    def device(self, kind: str) -> Device | None:
        return next((d for d in self.devices if d.kind == kind), None)


# ----------------------------------------------------------------------------------------------- catalog


class Score(Noun, frozen=True, kw_only=True):
    """A published benchmark score, in points (0 to 100 unless the benchmark says otherwise)."""

    benchmark: str
    value: float
    setting: str | None = None
    source: str
    source_kind: Literal["primary", "secondary", "memory"]


class Shape(Noun, frozen=True, kw_only=True):
    """The dimensions that decide bytes and speed. ``architecture`` is the GGUF name."""

    architecture: Literal["phi2", "phi3", "phimoe"]
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    rope_dims: int
    rope_theta: float
    context: int
    original_context: int | None = None
    longrope: bool = False
    tied: bool = False
    experts: int = 0
    experts_used: int = 0
    sliding_window: int | None = None
    norm_eps: float = 1e-5


class Runtime(Noun, frozen=True, kw_only=True):
    """Whether a runtime can run the variant (yes, no, not known) and the note that says how we know."""

    name: str
    runs: bool | None = None
    note: str


class ChatTemplate(Noun, frozen=True, kw_only=True):
    style: str
    layout: str | None = None
    tokens: tuple[str, ...] = ()
    source: str | None = None
    notes: str | None = None


class Variant(Noun, frozen=True, kw_only=True):
    """One Phi model: shape, abilities, licence and published scores, each with its source."""

    id: str
    title: str
    aliases: tuple[str, ...] = ()
    hf_repo: str | None = None
    license: str | None = None
    license_note: str | None = None
    release: str
    release_source: str | None = None
    parameters: int | None = None
    parameters_active: int | None = None
    parameters_note: str
    modalities_in: tuple[str, ...]
    modalities_out: tuple[str, ...]
    languages: tuple[str, ...]
    languages_source: str | None = None
    context_tokens: int | None = None
    function_calling: bool | None = None
    reasoning: bool
    reasoning_note: str | None = None
    recommended_max_new_tokens: int | None = None
    good_at: tuple[str, ...] = ()
    kv_bytes_per_token_f16: int | None = None
    kv_note: str | None = None
    tokenizer_bytes: int | None = None
    shape: Shape | None = None
    shape_source: str
    chat_template: ChatTemplate
    runtimes: tuple[Runtime, ...] = ()
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()
    from_memory: tuple[str, ...] = ()  # which fields no document confirmed

    def runtime(self, name: str) -> Runtime | None:
        return next((r for r in self.runtimes if r.name == name), None)


class Quantization(Noun, frozen=True, kw_only=True):
    """One row of quantizations.toml."""

    id: str
    format: Literal["gguf", "onnx", "torch"]
    bits: float  # nominal bits per weight of the base type
    aliases: tuple[str, ...] = ()
    ftype: int | None = None  # llama.cpp's LLAMA_FTYPE number
    imatrix: bool = False
    note: str = ""
    kld: float | None = None  # published mean KL divergence against F16
    kld_source: str | None = None  # names the model it was measured on


class Need(Noun, frozen=True, kw_only=True):
    """What a model with this exact use would occupy, in bytes, and how that was found."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    runtime_bytes: int
    because: str

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.runtime_bytes


class Goal(Noun, frozen=True, kw_only=True):
    """What the user wants to do: a workload, limits, and the order of metrics. Data, not code."""

    id: str
    title: str
    prompt_tokens: int
    new_tokens: int
    context: int
    benchmarks: tuple[str, ...]  # published scores that speak of this goal, best first
    order: tuple[str, ...]  # metrics, compared lexicographically
    limits: dict[str, float] = {}
    requires: tuple[str, ...] = ()  # "reasoning", "function_calling", "multilingual", "image", "audio"
    thinking_tokens: int | None = None  # assumed, never published
    source: str = ""


# --------------------------------------------------------------------------------------- setups and suites


class Setup(Noun, frozen=True, kw_only=True, order=True):
    """The pivot: variant x quantization x backend x device, and the options that are not the default."""

    variant: str
    quantization: str
    backend: str
    device: str = "cpu"
    options: tuple[tuple[str, str], ...] = ()  # sorted

    def __str__(self) -> str:
        tail = "&".join(f"{k}={v}" for k, v in self.options)
        text = f"{self.variant}:{self.quantization}@{self.backend}/{self.device}"
        return f"{text}?{tail}" if tail else text


class Workload(Noun, frozen=True, kw_only=True, order=True):
    """One point of a suite's grid. ``prompt_tokens`` are timed, ``depth`` is already in the KV cache."""

    prompt_tokens: Tokens
    new_tokens: Tokens
    batch: AtLeastOne = 1
    depth: Tokens = 0

    def __str__(self) -> str:
        parts = [f"pp{self.prompt_tokens}"] if self.prompt_tokens else []
        parts += [f"tg{self.new_tokens}"] if self.new_tokens else []
        text = "+".join(parts)
        text += f" x{self.batch}" if self.batch > 1 else ""
        return f"{text} @ d{self.depth}" if self.depth else text

    @property
    def context(self) -> int:
        """Tokens of one sequence that must fit into the KV cache."""
        return self.depth + self.prompt_tokens + self.new_tokens


class Warmup(Noun, frozen=True, kw_only=True):
    """Repeat untimed until ``windows`` repetitions agree within ``tolerance``; stop at either cap.

    ``max_prompt_tokens`` cuts the prompt of a warm-up repetition, where a whole one would take too long.
    """

    windows: AtLeastOne = 3
    tolerance: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.03
    max_windows: Count = 5
    max_s: Seconds = 10.0
    max_prompt_tokens: AtLeastOne | None = None


class Suite(Noun, frozen=True, kw_only=True):
    """A question with its axes and protocol: one TOML file."""

    name: str
    question: str
    metrics: tuple[str, ...]
    prompt_tokens: tuple[int, ...] = ()
    new_tokens: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    depths: tuple[int, ...] = (0,)
    repetitions: AtLeastOne = 5
    launches: AtLeastOne = 1
    warmup: Warmup = Warmup()
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1800.0  # for one repetition, and for opening the model
    look_s: Seconds = 5.0  # the machine is watched before the first test; five seconds are the most

    def workloads(self) -> tuple[Workload, ...]:
        """The only place where the grid exists; 0 skips that test."""
        tests = [(p, 0) for p in self.prompt_tokens if p]
        tests += [(0, n) for n in self.new_tokens if n]
        tests += [(p, n) for p, n in self.pairs]
        return tuple(Workload(prompt_tokens=p, new_tokens=n, depth=d) for d in self.depths for p, n in tests)


class Artifact(Noun, frozen=True, kw_only=True):
    """The file that a setup opens. ``layers`` is None for the whole model, else a slice."""

    path: str
    bytes: int
    weights: Literal["real", "synthetic"]
    layers: int | None = None
    tensor_types: dict[str, int] = {}  # histogram: GGML type -> number of tensors
    parameters: int | None = None


class Job(Noun, frozen=True, kw_only=True):
    """All that a worker is told."""

    setup: Setup
    suite: Suite
    workloads: tuple[Workload, ...]
    artifact: Artifact
    threads: int


# ---------------------------------------------------------------------------------------------- results


class Sample(Noun, frozen=True, kw_only=True):
    """One repetition, raw.

    ``arrivals_s``: arrival of every token on the host, seconds since the work was handed over. A workload
    with ``new_tokens`` = 0 has one arrival: the first token after the prompt.
    ``sampling_s``: what of that was spent on choosing tokens (argmax).
    """

    arrivals_s: tuple[Seconds, ...]
    sampling_s: Seconds | None = None


class Engine(Noun, frozen=True, kw_only=True):
    """What really ran, and the proof of where: read from the engine, not from what we asked for."""

    name: str
    version: str
    placement: str
    options: dict[str, str] = {}
    details: dict[str, str] = {}
    resident_bytes: int | None = None


class Measured(Noun, frozen=True, kw_only=True, tag="measured", tag_field="status"):
    setup: Setup
    workload: Workload
    artifact: Artifact
    threads: AtLeastOne
    engine: Engine
    samples: tuple[Sample, ...]
    load_s: Seconds | None = None
    warmup_s: tuple[Seconds, ...] = ()
    launch: int = 0
    at: str = ""  # UTC, ISO 8601
    notes: tuple[str, ...] = ()


class Failed(Noun, frozen=True, kw_only=True, tag="failed", tag_field="status"):
    setup: Setup
    workload: Workload
    reason: str
    artifact: Artifact | None = None
    threads: int | None = None
    launch: int = 0
    at: str = ""


Result = Measured | Failed


class Run(Noun, frozen=True, kw_only=True, omit_defaults=False):
    """One file, readable on its own."""

    schema: int = SCHEMA
    id: str
    started: str  # UTC, ISO 8601
    suite: Suite
    machine: Machine
    software: dict[str, str]
    conditions: dict[str, str] = {}
    warnings: tuple[str, ...] = ()  # what in the conditions speaks against the results
    results: tuple[Result, ...] = ()
    example: bool = False  # shipped with phibench: shown, never counted as measured here


# ----------------------------------------------------------------------------------------------- advice

Basis = Literal["measured", "calibrated", "probed", "spec", "published", "exact", "assumed"]


class Estimate(Noun, frozen=True, kw_only=True):
    """A number that knows where it came from. ``low`` and ``high`` bound 80 %; of bytes: counted, and in all."""

    value: float
    low: float
    high: float
    basis: Basis
    because: str


class Verdict(Noun, frozen=True, kw_only=True):
    """Yes, no or not known, each with its reasons in words."""

    setup: Setup
    estimates: dict[str, Estimate] = {}
    objections: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    hard: int = 0  # objections that no looser limit and no faster machine would turn

    @property
    def verdict(self) -> Literal["yes", "no", "unknown"]:
        if self.objections:
            return "no"
        return "unknown" if self.unknowns else "yes"


# ---------------------------------------------------------------------------- what a worker says, in lines


class Opened(Noun, frozen=True, kw_only=True, tag="opened", tag_field="status"):
    engine: Engine
    load_s: float


class Progress(Noun, frozen=True, kw_only=True, tag="progress", tag_field="status"):
    """``done`` of ``total`` repetitions of this workload's ``stage``."""

    workload: Workload
    stage: str
    done: int
    total: int


Event = Opened | Progress | Measured | Failed
