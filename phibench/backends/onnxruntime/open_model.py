"""An open model in onnxruntime-genai."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phibench.backends.onnxruntime import buffers, providers
from phibench.backends.onnxruntime.config import read_config
from phibench.backends.onnxruntime.facts import DEFAULTS, FILL, KINDS, NAME, ROPE_SWITCH, installed
from phibench.backends.onnxruntime.profile import evidence, fallback, nodes, placement
from phibench.core.errors import FAILED, FallbackError, PhibenchError, UnavailableError
from phibench.core.nouns import Engine, Job, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
           "off": "ORT_DISABLE_ALL"}  # fmt: skip


class OpenModel:
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
        self._size, self._batch = 0, 1
        self._filled = 0
        self._begun = False
        self.sampling_s = None
        self._rows = 0  # most tokens of a sequence that were computed at once since the cache was made
        name = Path(job.artifact.path).name
        before = buffers.anonymous_bytes()
        with _saying(f"cannot open {name} on {job.setup.device}"):
            self._model = og.Model(self._engine_config())
        self._opened = buffers.since(before, Path(job.artifact.path))
        with _saying(f"cannot run {name}"):
            self._nodes = self._profile()
        self._check_device()

    def _engine_config(self) -> Any:
        """The package's own configuration with threads and device as asked for."""
        kind, _, index = self._job.setup.device.partition(":")
        if kind not in KINDS:
            raise UnavailableError(f"onnxruntime has no device '{kind}'; there are: {', '.join(KINDS)}")
        config = self._og.Config(self._job.artifact.path)
        session: dict[str, int | str] = {"intra_op_num_threads": self._job.threads, "inter_op_num_threads": 1}
        if (level := self._options["graph_optimization"]) != DEFAULTS["graph_optimization"]:
            session["graph_optimization_level"] = _LEVELS[level]
        if self._options["prepacking"] == "off":
            session["session.disable_prepacking"] = "1"
        room = {"context_length": self._config.context + 1}  # for the token that is chosen last
        config.overlay(json.dumps({"model": {**room, "decoder": {"session_options": session}}}))
        config.clear_providers()
        if kind != "cpu":
            found = providers.provider(kind)
            if found is None:
                raise FallbackError(f"onnxruntime, as installed here, cannot use {kind}")
            provider, library = found
            if index not in ("", "0") and not provider.pick:
                raise UnavailableError(f"onnxruntime cannot choose among devices of {provider.full}: ask for {kind}:0")
            providers.register(provider, library)
            config.append_provider(provider.name)
            for key, value in provider.options:
                config.set_provider_option(provider.name, key, value)
            if provider.pick and index:
                config.set_provider_option(provider.name, provider.pick, index)
        return config

    def _make(self, size: int, batch: int = 1) -> Any:
        """A generator with room for ``size`` tokens of every sequence."""
        params = self._og.GeneratorParams(self._model)
        chunk = {"chunk_size": int(self._options["chunk_size"])} if self._options["chunk_size"] else {}
        params.set_search_options(
            max_length=size, min_length=size, batch_size=batch, num_beams=1, do_sample=False, repetition_penalty=1.0,
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
            self._shown = buffers.shown(generator, self._config)
            written = sorted(Path(folder).iterdir())
            return nodes(written[0].read_bytes() if written else b"")

    def begin(self, workload: Workload) -> None:
        if workload.context > self._config.context:
            raise PhibenchError(
                f"{Path(self._job.artifact.path).name} has a context of {self._config.context} tokens, "
                f"the test needs {workload.context}"
            )
        if workload.batch > 1 and workload.depth and workload.prompt_tokens:
            raise PhibenchError("onnxruntime-genai takes a prompt behind a filled cache of one sequence only")
        if workload.batch > 1 and self._chunk:
            raise PhibenchError("onnxruntime-genai computes a prompt in chunks for one sequence only: no chunk_size")
        with _saying(f"cannot make room for {workload.context} tokens of {workload.batch} sequences"):
            self._room(workload.context + 1, workload.batch, workload.depth)
        part = FILL if self._shares and workload.batch == 1 else workload.depth
        while self._filled < workload.depth:  # in parts: a graph that keeps all logits would need room for them
            count = min(part, workload.depth - self._filled)
            self._append(self._draw(count))
            self._filled += count
        self._begun = workload.batch > 1 and workload.depth > 0
        if self._begun:  # nothing can be appended: the token to start from is chosen
            self._choose()

    def _room(self, size: int, batch: int, depth: int) -> None:
        """A generator of that size that holds either nothing or exactly the depth."""
        if (self._size, self._batch) != (size, batch):
            self._generator, self._size = None, 0  # first give the old cache back
            self._generator = self._make(size, batch)
            self._size, self._batch, self._filled, self._rows = size, batch, 0, 0
        recomputed = self._filled < ROPE_SWITCH < self._generator.token_count()
        if self._filled != depth or recomputed or batch > 1:  # of several sequences the engine forgets all or nothing
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

    def unsound(self) -> str | None:
        """The engine chooses inside its step; asked for its logits, it would compute one token more."""
        return None

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        """Logits after the prompt and after each token of ``then``; see the promise in ``backends``."""
        self.begin(Workload(prompt_tokens=len(prompt), new_tokens=len(then) + 1))
        self._append(self._np.asarray(prompt, self._np.int32))
        rows = [self._generator.get_logits().reshape(-1)]
        for done, _ in enumerate(then, 1):
            seen = [*prompt, *then[:done]]
            if len(seen) == ROPE_SWITCH:  # what generate_next_token does there
                self._generator.rewind_to(0)
                self._append(self._np.asarray(seen, self._np.int32))
            else:
                self._append(self._np.asarray(seen[-1:], self._np.int32))
            rows.append(self._generator.get_logits().reshape(-1))
        return self._np.stack(rows)

    def _draw(self, count: int) -> Any:
        """Random token ids of every sequence, shape (batch, count); none that the package calls padding or end, which
        the engine would treat apart."""
        return self._ids[self._random.integers(len(self._ids), size=(self._batch, count))]

    @property
    def _shares(self) -> bool:
        """Whether past and present keys share their room: so they do where attention is GroupQueryAttention."""
        return bool(self._search["past_present_share_buffer"])

    @property
    def _chunk(self) -> int:
        """Tokens of a prompt that are computed at once; 0: all."""
        return int(self._search["chunk_size"])

    def _append(self, ids: Any, behind: str = "") -> None:
        """Compute ``ids`` (of every sequence) behind what is there; their last logits are ready when it returns.

        The engine obeys chunk_size in the first run of a generator alone: cut here, every repetition is alike.
        """
        count = ids.shape[-1]
        part = min(count, self._chunk or count)
        self._rows = max(self._rows, part)
        with _saying(f"failed to compute {count} tokens{behind}"):
            for start in range(0, count, part):
                self._generator.append_tokens(ids[..., start : start + part])
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
            evidence=(*evidence(self._nodes), *((self._shown.text,) if self._shown else ())),
            options={
                "intra_op_num_threads": str(self._job.threads),
                "inter_op_num_threads": "1",
                "max_length": str(self._size),
                "batch_size": str(self._batch),
                "chunk_size": str(self._chunk),  # 0: the whole prompt at once
                "past_present_share_buffer": "on" if self._shares else "off",
                "graph_optimization": self._options["graph_optimization"],
                "prepacking": self._options["prepacking"],
            },
            details={
                "device_type": self._model.device_type,
                "model_type": self._model.type,
                "providers": ", ".join(onnxruntime.get_available_providers()),
            },
            buffers=buffers.by_use(
                self._shown, self._opened, self._job.setup.device, self._room_now(), self._batch, self._rows
            ),
        )

    def _room_now(self) -> int:
        """Tokens of one sequence that the cache has room for: made at once, or grown so far."""
        if self._shares or self._generator is None:
            return self._size
        return int(self._generator.token_count())

    def _check_device(self) -> None:
        """A silent fallback is never a measurement of the device that was asked for."""
        kind = self._job.setup.device.partition(":")[0]
        found = providers.provider(kind) if kind != "cpu" else None
        if found and (why := fallback(self._nodes, found[0].full)):
            raise FallbackError(f"asked for {self._job.setup.device}, but {why}")

    def close(self) -> None:
        self._generator = None
        self._model = None


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """The engine's errors as one line."""
    try:
        yield
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PhibenchError(f"onnxruntime-genai {what}: {first[:300]}", FAILED) from None
