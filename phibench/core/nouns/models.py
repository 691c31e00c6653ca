"""Phi models as facts with sources, their quantizations, what they need, and what a person wants of them."""

from __future__ import annotations

from typing import Literal, get_args

from phibench.core.nouns.base import Noun

Architecture = Literal["phi2", "phi3", "phimoe"]  # as GGUF names them
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


class Score(Noun, frozen=True, kw_only=True):
    """A published benchmark score, in points (0 to 100 unless the benchmark says otherwise)."""

    benchmark: str
    value: float
    setting: str | None = None
    source: str
    source_kind: Literal["primary", "secondary", "memory"]


class Shape(Noun, frozen=True, kw_only=True):
    """The dimensions that decide bytes and speed."""

    architecture: Architecture
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
    """Whether a runtime can run the variant (yes, no, not known) and the note that says how we know.

    ``modalities``: what it takes of those of the variant.
    """

    name: str
    runs: bool | None = None
    modalities: tuple[str, ...] = ("text",)
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
    """One row of a format's quantizations."""

    id: str
    format: str
    bits: float  # nominal bits per weight of the base type
    aliases: tuple[str, ...] = ()
    ftype: int | None = None  # llama.cpp's LLAMA_FTYPE number
    imatrix: bool = False
    matrices: str | None = None  # ONNX: their type, where the id is not its name
    accuracy_level: int | None = None  # ONNX: of MatMulNBits, 4 where none is given (activations in int8)
    superseded: bool = False  # a younger type of the same bits loses less
    note: str = ""
    kld: float | None = None  # published mean KL divergence against F16
    kld_source: str | None = None  # names the model it was measured on
    like: str | None = None  # the quantization of GGUF that loses as much, where no loss is published


class Need(Noun, frozen=True, kw_only=True):
    """What a model with this exact use would occupy, in bytes, and how that was found.

    ``reclaimable_bytes`` come on top of the total where they are seen: pages of mapped files that the system may drop.
    ``reserved_bytes`` of buffers are never written to: they count where all that is asked for does, as on a GPU.
    """

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    runtime_bytes: int
    because: str
    reclaimable_bytes: int = 0
    reserved_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.runtime_bytes

    @property
    def peak_bytes(self) -> int:
        """What a look at the process would show at its highest."""
        return self.total_bytes + self.reclaimable_bytes


class Build(Noun, frozen=True, kw_only=True):
    """A file or folder that somebody offers of a variant: what a person downloads.

    ``path``: the file, the first of a split one, or the folder of an ONNX package; None: the whole repository, or not
    seen. ``devices``: kinds that the package is made for ("cuda", "npu"); empty: any that its format runs on.
    ``format`` may be one that phibench runs with no backend ("openvino"): such a build is listed, never measured.
    """

    variant: str
    quantization: str  # as the format names it: "Q4_K_M", "int4", "bf16"
    format: str
    publisher: str
    repository: str
    branch: str = ""  # where it is not in the usual one
    path: str | None = None
    bytes: int | None = None  # of all its files
    exact: bool = False  # bytes as listed by the publisher; else rounded
    devices: tuple[str, ...] = ()
    official: bool = False  # by the makers of the variant
    made: bool = False  # here, of the repository's checkpoint, as it is opened
    note: str = ""
    source: str


class Training(Noun, frozen=True, kw_only=True):
    """Fine-tuning with adapters of low rank on all matrices of the layers; ``sequence_tokens`` of each example."""

    rank: int
    sequence_tokens: int
    batch: int


class Goal(Noun, frozen=True, kw_only=True):
    """What the user wants to do: a workload, what is usable and what comfortable, and which variants are best. Data.

    ``images`` ("1344x1344") and ``audio_s`` seconds of speech come with the prompt, whose tokens do not count theirs.
    ``limits`` make it usable, ``comfort`` comfortable. ``felt_tps``: decode beyond which more is not felt, None: all of
    it is. ``equal_loss``: nat up to which losses of quantization count as the same. ``tiers`` of variants, best first;
    every other one stands in ``not_for`` with the reason. ``despite``: "A < B" where a score that both have says the
    contrary of the tiers, and why they stand so all the same.
    """

    id: str
    title: str
    prompt_tokens: int
    new_tokens: int
    context: int
    benchmarks: tuple[str, ...]  # published scores that speak of this goal, best first
    limits: dict[str, float] = {}
    comfort: dict[str, float] = {}
    felt_tps: float | None = None
    equal_loss: float = 0.06
    thinking: Literal["avoid", "wanted"] = "avoid"
    tiers: tuple[tuple[str, ...], ...] = ()
    not_for: dict[str, str] = {}
    despite: dict[str, str] = {}
    requires: tuple[str, ...] = ()  # "reasoning", "function_calling", "multilingual", "image", "audio", "open_licence"
    thinking_tokens: int | None = None  # assumed, never published
    images: tuple[str, ...] = ()
    audio_s: float | None = None
    training: Training | None = None
    language: str = ""  # that is asked for, in English
    source: str = ""
