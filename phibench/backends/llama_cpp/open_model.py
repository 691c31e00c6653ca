"""An open model in llama.cpp."""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phibench.backends.llama_cpp import batches, experts, log, memory
from phibench.backends.llama_cpp.facts import DEFAULTS, NAME, installed
from phibench.core.errors import FallbackError, PhibenchError, UnavailableError
from phibench.core.nouns import Engine, Job, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FLASH = {"auto": -1, "off": 0, "on": 1}
_ALL_LAYERS = 999
_BUFFERS = {"cpu": log.HOST, "cuda": ("CUDA",), "rocm": ("ROCm", "HIP"), "vulkan": ("Vulkan",),
            "metal": ("Metal", "MTL"), "xpu": ("SYCL",)}  # fmt: skip


class OpenModel:
    """One open model, and one context at a time: each workload gets a context of its own size.

    LongRoPE variants choose their factors by the configured context, so a larger one would not be the same.
    """

    def __init__(self, job: Job) -> None:
        import llama_cpp.llama_cpp as api

        self._api = api
        self._job = job
        self._options = {**DEFAULTS, **dict(job.setup.options)}
        self._context: Any = None
        self._size = (0, 0)
        self._filled = 0
        self._at = 0  # tokens of each of several sequences so far
        self._random = random.Random(0)  # noqa: S311  token ids, not secrets
        self.sampling_s = 0.0
        log.listen(api)
        api.llama_backend_init()
        self._model = api.llama_model_load_from_file(job.artifact.path.encode(), self._model_params())
        if not self._model:
            raise PhibenchError(f"llama.cpp cannot open {Path(job.artifact.path).name}: {log.last_error()}", 1)
        self._vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._tokens = (api.llama_token * 1)()  # the next one of every sequence
        self._check_device()

    def _model_params(self) -> Any:
        params = self._api.llama_model_default_params()
        on_cpu = self._job.setup.device == "cpu"
        layers = self._options["n_gpu_layers"] or ("0" if on_cpu else str(_ALL_LAYERS))
        params.n_gpu_layers = int(layers)
        params.use_extra_bufts = self._options["repack"] == "on"
        if on_cpu:  # an empty device list, or a GPU build would still compute large batches on the GPU
            self._no_devices = (ctypes.c_void_p * 1)(None)
            params.devices = ctypes.cast(self._no_devices, ctypes.c_void_p)
        elif ":" in self._job.setup.device:
            params.main_gpu = int(self._job.setup.device.split(":")[1])
            params.split_mode = self._api.LLAMA_SPLIT_MODE_NONE
        self._options["n_gpu_layers"] = layers
        if kept := int(self._options["n_cpu_moe"]):
            self._overrides = experts.overrides(kept)
            params.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)
        return params

    def _context_params(self, tokens: int, sequences: int) -> Any:
        params = self._api.llama_context_default_params()
        params.n_ctx = tokens * sequences
        params.n_batch = int(self._options["n_batch"])
        params.n_ubatch = int(self._options["n_ubatch"])
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = self._job.threads
        params.flash_attn_type = _FLASH[self._options["flash_attn"]]
        params.type_k = memory.KV_TYPES[self._options["type_k"]][0]
        params.type_v = memory.KV_TYPES[self._options["type_v"]][0]
        params.offload_kqv = params.op_offload = self._job.setup.device != "cpu"
        params.swa_full = False
        return params

    def begin(self, workload: Workload) -> None:
        size = (workload.context, workload.batch)
        if size != self._size:
            self._close_context()
            self._open_context(*size)
        cache = self._api.llama_get_memory(self._context)
        if self._filled and self._filled == workload.depth:
            for sequence in range(workload.batch):
                self._api.llama_memory_seq_rm(cache, sequence, workload.depth, -1)
            self._at = workload.depth
        else:
            self._api.llama_memory_clear(cache, False)
            self._filled = self._at = 0
            if workload.depth:
                self._fill(workload.depth)
                self._api.llama_synchronize(self._context)  # on a GPU the first timed step would wait for it
                self._filled = workload.depth
        self._tokens[:] = [self._random.randrange(self._vocab) for _ in self._tokens]

    def _open_context(self, tokens: int, sequences: int) -> None:
        most = self._api.llama_max_parallel_sequences()
        if sequences > most:
            raise PhibenchError(f"llama.cpp runs at most {most} sequences at once, not {sequences}")
        self._context = self._api.llama_init_from_model(self._model, self._context_params(tokens, sequences))
        if not self._context:
            raise PhibenchError(
                f"llama.cpp cannot make a context of {tokens} tokens for {sequences} sequences: {log.last_error()}", 1
            )
        self._size, self._filled, self._at = (tokens, sequences), 0, 0
        self._tokens = (self._api.llama_token * sequences)()

    def prefill(self, tokens: int) -> None:
        if len(self._tokens) > 1:
            self._advance(self._drawn(tokens))
        else:
            self._decode_ids(self._drawn(tokens)[0])
            self._choose()

    def step(self) -> None:
        if len(self._tokens) > 1:
            self._advance([[token] for token in self._tokens])
        else:
            self._decode_array(self._tokens, 1)
            self._choose()

    def unsound(self) -> str | None:
        import numpy as np

        if not self._context or np.isfinite(self._logits()).all():
            return None
        return "the logits are not finite numbers"

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        """Logits after the prompt and after each token of ``then``; see the promise in ``backends``."""
        import numpy as np

        self.begin(Workload(prompt_tokens=len(prompt), new_tokens=len(then) + 1))
        self._decode_ids(prompt)
        rows = [self._logits().copy()]
        for token in then:
            self._tokens[0] = token
            self._decode_array(self._tokens, 1)
            rows.append(self._logits().copy())
        return np.stack(rows)

    def _drawn(self, count: int) -> list[list[int]]:
        """Random token ids for every sequence, as llama-bench: equal ids would send a mixture of experts one way."""
        return [[self._random.randrange(self._vocab) for _ in range(count)] for _ in self._tokens]

    def _fill(self, count: int) -> None:
        if len(self._tokens) > 1:
            for _ in self._answers(self._drawn(count)):
                pass
        else:
            self._decode_ids(self._drawn(count)[0])

    def _advance(self, rows: Sequence[Sequence[int]]) -> None:
        """More tokens of every sequence, and the greedy choice after each."""
        for sequence, logits in self._answers(rows):
            start = time.perf_counter()
            self._tokens[sequence] = int(logits.argmax())
            self.sampling_s += time.perf_counter() - start

    def _answers(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(sequence, logits after its last token), as they come: valid until the next decode, so be quick."""
        import numpy as np

        tokens = np.array(rows, np.int32)
        for batch, ends in batches.cut(self._api, tokens, self._at, int(self._options["n_batch"])):
            self._run(batch, batch.n_tokens)
            yield from ((sequence, self._logits(index)) for sequence, index in ends)
        self._at += tokens.shape[1]

    def _decode_ids(self, ids: Sequence[int]) -> None:
        limit = int(self._options["n_batch"])
        for start in range(0, len(ids), limit):
            chunk = ids[start : start + limit]
            self._decode_array((self._api.llama_token * len(chunk))(*chunk), len(chunk))

    def _decode_array(self, ids: Any, count: int) -> None:
        self._run(self._api.llama_batch_get_one(ids, count), count)

    def _run(self, batch: Any, count: int) -> None:
        code = self._api.llama_decode(self._context, batch)
        if code:
            raise PhibenchError(f"llama.cpp failed to decode {count} tokens (code {code}): {log.last_error()}", 1)

    def _choose(self) -> None:
        """Wait for the logits, then greedy choice on the engine's own memory."""
        self._api.llama_synchronize(self._context)
        start = time.perf_counter()
        self._tokens[0] = int(self._logits().argmax())
        self.sampling_s += time.perf_counter() - start

    def _logits(self, index: int = -1) -> NDArray[np.float32]:
        """The engine's own memory, shape (vocab,): valid until the next decode. -1: of the last token that has them."""
        import numpy as np

        self._api.llama_synchronize(self._context)
        return np.ctypeslib.as_array(self._api.llama_get_logits_ith(self._context, index), (self._vocab,))

    @property
    def engine(self) -> Engine:
        text, context = log.text(), self._api.llama_n_ctx(self._context) if self._context else None
        return Engine(
            name=NAME,
            version=installed() or "unknown",
            placement=log.placement(text),
            evidence=log.evidence(text),
            options={
                **{k: v for k, v in self._options.items() if k != "threads"},
                "n_threads": str(self._job.threads),
                "n_ctx": "" if context is None else str(context),
                "flash_attn": log.flash(text, self._options["flash_attn"]),
            },
            details={"system_info": self._api.llama_print_system_info().decode().strip()},
            buffers=log.by_use(text),
            context_tokens=context,
        )

    def _check_device(self) -> None:
        """A silent fallback is never a measurement of the device that was asked for."""
        wanted = self._job.setup.device.split(":")[0]
        if wanted not in _BUFFERS:
            raise UnavailableError(f"llama.cpp has no device '{wanted}'; there are: {', '.join(_BUFFERS)}")
        names = [name for name, _ in log.buffers(log.text(), "model")]
        if self._options["n_gpu_layers"] != "0" and not any(n.startswith(_BUFFERS[wanted]) for n in names):
            raise FallbackError(
                f"asked for {self._job.setup.device}, but llama.cpp put the model on "
                f"{', '.join(names) or 'nothing'}; this build has no such device: reinstall llama-cpp-python for it"
            )

    def _close_context(self) -> None:
        if self._context:
            self._api.llama_free(self._context)
            self._context = None

    def close(self) -> None:
        self._close_context()
        if self._model:
            self._api.llama_model_free(self._model)
            self._model = None
