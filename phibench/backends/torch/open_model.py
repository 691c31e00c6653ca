"""An open model in PyTorch."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phibench import catalog
from phibench.backends.torch.facts import DEFAULTS, KINDS, NAME, installed
from phibench.catalog.plans import hf_config
from phibench.core.errors import FAILED, FallbackError, OutOfMemoryError, PhibenchError, UnavailableError
from phibench.core.nouns import Engine, Job, Workload
from phibench.core.units import gb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NAMES = {"rocm": "cuda"}  # what torch calls them
_TELLING = ("Intel(R) MKL-DNN", "OpenMP", "CPU capability", "CUDA Runtime", "HIP Runtime")  # of torch's build


class OpenModel:
    """One model and equally long sequences; each workload gets a KV cache of its own size."""

    def __init__(self, job: Job) -> None:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's: huge pages, where Linux gives them on request
        import torch

        from phibench.backends.torch import build, loop

        self._torch, self._job = torch, job
        self._options = {**DEFAULTS, **dict(job.setup.options)}
        self._device = _device(torch, job.setup.device)
        torch.set_num_threads(job.threads)
        with contextlib.suppress(RuntimeError):  # it can be set once, before the first parallel work; told in options
            torch.set_num_interop_threads(1)
        if self._options["onednn"] == "off" and torch.backends.mkldnn.is_available():
            torch.backends.mkldnn.set_flags(_enabled=False)
        path = Path(job.artifact.path) if job.artifact.path else None
        self._model = build.empty(_config(job, path), job.setup.quantization, self._device.type)
        if path is None or job.artifact.weights == "synthetic":
            build.synthetic(self._model, self._device)
        else:
            build.load(self._model, path, self._device)
        self._loop = loop.Loop(self._model, self._device, self._options["onednn_decode"] == "on")
        self._vocab = self._model.config.vocab_size
        self._random = torch.Generator().manual_seed(0)
        self._tokens = self._ids(1, 1)
        self._last: Any = None  # logits of the last step
        self.sampling_s = 0.0
        self._check_placement()

    def begin(self, workload: Workload) -> None:
        self._loop.make_room(workload.context, workload.batch)
        if not self._loop.keep(workload.depth):
            self._loop.keep(0)
            self._feed(self._ids(workload.batch, workload.depth))
            self._wait()
        self._tokens = self._ids(workload.batch, 1)
        self._check_placement()

    def prefill(self, tokens: int) -> None:
        self._choose(self._feed(self._ids(len(self._tokens), tokens)))

    def step(self) -> None:
        self._choose(self._feed(self._tokens))

    def _feed(self, tokens: Any) -> Any:
        self._last = None  # freed before the next ones are made, as if nobody kept them
        return self._loop.feed(tokens)

    def unsound(self) -> str | None:
        if self._last is None or bool(self._torch.isfinite(self._last).all()):
            return None
        return "the logits are not finite numbers"

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        """Logits after the prompt and after each token of ``then``; see the promise in ``backends``."""
        import numpy as np

        self.begin(Workload(prompt_tokens=len(prompt), new_tokens=len(then) + 1))
        pieces = [list(prompt), *([token] for token in then)]
        rows = [self._loop.feed(self._torch.tensor([piece])).float().cpu().numpy() for piece in pieces]
        return np.concatenate(rows)

    def _ids(self, batch: int, count: int) -> Any:
        """Random token ids, other ones in every sequence: equal ones would be alike for attention."""
        return self._torch.randint(self._vocab, (batch, count), generator=self._random)

    def _wait(self) -> None:
        """Until a GPU has done what it was handed."""
        if self._device.type != "cpu":
            self._torch.accelerator.synchronize(self._device)

    def _choose(self, logits: Any) -> None:
        """Wait for the logits, then greedy choice where they are; the ids come to the host."""
        self._wait()
        self._last = logits
        start = time.perf_counter()
        self._tokens.copy_(logits.float().argmax(1, keepdim=True))  # in 16 bits it takes four times as long
        self.sampling_s += time.perf_counter() - start

    @property
    def engine(self) -> Engine:
        torch, placed = self._torch, self._placed()
        return Engine(
            name=NAME,
            version=installed() or "unknown",
            placement=f"all {sum(count for count, _ in placed.values())} tensors on {', '.join(placed)}",
            evidence=self._evidence(),
            options={
                "onednn": self._options["onednn"],
                "onednn_decode": self._options["onednn_decode"],
                "num_threads": str(torch.get_num_threads()),
                "interop_threads": str(torch.get_num_interop_threads()),
                "attention": "sdpa",
                "dtype": str(self._model.dtype).removeprefix("torch."),
                "kv_tokens": str(self._loop.cache.shape[4]) if self._loop.cache.numel() else "",
            },
            details={
                "transformers": importlib.metadata.version("transformers"),
                "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                "onednn": "available" if torch.backends.mkldnn.is_available() else "not in this build",
                "huge_pages": _huge_pages(),
            },
            buffers=self._buffers(),
        )

    def _tensors(self) -> Iterator[Any]:
        yield from self._model.parameters()
        yield from self._model.buffers()
        if self._loop.cache.numel():
            yield self._loop.cache

    def _buffers(self) -> dict[str, int]:
        """Bytes by use, of the tensors as they are; "compute" is what torch had beside them at most, told on CUDA
        alone. What lies elsewhere than in host memory says so in its name."""
        torch, cache = self._torch, self._loop.cache
        tail = "" if self._device.type == "cpu" else f" {self._job.setup.device}"
        kv = cache.numel() * cache.element_size()
        held = sum(size for _, size in self._placed().values())
        found = {"weights": held - kv, "kv": kv}
        if self._device.type == "cuda":
            found["compute"] = torch.cuda.max_memory_allocated(self._device) - held
        return {f"{use}{tail}": size for use, size in found.items() if size > 0}

    def _placed(self) -> dict[str, tuple[int, int]]:
        """Device -> number and bytes of the tensors that are there."""
        found: dict[str, tuple[int, int]] = {}
        for tensor in self._tensors():
            count, size = found.get(str(tensor.device), (0, 0))
            found[str(tensor.device)] = count + 1, size + tensor.numel() * tensor.element_size()
        return found

    def _evidence(self) -> tuple[str, ...]:
        cache, torch = self._loop.cache, self._torch
        lines = [f"{count} tensors, {gb(size)}, on {device}" for device, (count, size) in self._placed().items()]
        if cache.numel():
            lines.append(f"KV cache {tuple(cache.shape)} {cache.dtype}, {gb(cache.numel() * cache.element_size())}, "
                         f"on {cache.device}")  # fmt: skip
        if self._device.type == "cuda":
            lines.append(f"{torch.cuda.get_device_name(self._device)}: "
                         f"{gb(torch.cuda.memory_allocated(self._device))} allocated by torch")  # fmt: skip
        config = (line.strip(" -") for line in torch.__config__.show().splitlines())
        return (*lines, *(line for line in config if line.startswith(_TELLING)))

    def _check_placement(self) -> None:
        """A model that lies elsewhere, in part or whole, is never a measurement of the device that was asked for."""
        elsewhere = {d for d in self._placed() if self._torch.device(d) != self._device}
        if elsewhere:
            raise FallbackError(
                f"asked for {self._job.setup.device}, but tensors of the model are on {', '.join(elsewhere)}"
            )


@contextmanager
def out_of_memory() -> Iterator[None]:
    """torch raises a RuntimeError of its own for it."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        if "not enough memory" in text or "out of memory" in text:
            raise OutOfMemoryError(f"torch ran out of memory ({text})", FAILED) from None
        raise


def _huge_pages() -> str:
    """How much of this process's memory Linux keeps in huge pages; elsewhere "unknown"."""
    try:
        found = re.search(r"AnonHugePages: *(\d+) kB", Path("/proc/self/smaps_rollup").read_text(encoding="ascii"))
    except OSError:
        found = None
    return gb(int(found[1]) * 1024) if found else "unknown"


def _config(job: Job, path: Path | None) -> dict[str, Any]:
    """Of the folder, else of the catalog's shape."""
    from phibench.backends.torch import build

    if path is not None:
        return build.read_config(path)
    shape = catalog.variant(job.setup.variant).shape
    if shape is None:
        raise PhibenchError(f"the shape of {job.setup.variant} is not known, so it has no synthetic weights")
    return hf_config.config(shape, job.artifact.layers or shape.layers)


def _device(torch: Any, text: str) -> Any:
    """torch's device for a setup's; FallbackError when this build or machine has none."""
    kind, _, index = text.partition(":")
    if kind not in KINDS:
        raise UnavailableError(f"torch has no device '{kind}'; there are: {', '.join(KINDS)}")
    if kind == "cpu":
        return torch.device("cpu")
    name = _NAMES.get(kind, kind)
    if name == "mps" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        raise UnavailableError("PYTORCH_ENABLE_MPS_FALLBACK=1 lets torch compute on the cpu unseen: unset it for mps")
    available = getattr(torch, name).is_available() if name != "mps" else torch.backends.mps.is_available()
    right_build = bool(getattr(torch.version, "hip", None)) == (kind == "rocm") if name == "cuda" else True
    if not (available and right_build):
        raise FallbackError(
            f"asked for {text}, but torch {torch.__version__} finds no such device; "
            "is it there, and is this the build of torch for it?"
        )
    if int(index or 0) >= (count := getattr(torch, name).device_count()):
        raise FallbackError(f"asked for {text}, but torch finds {count} such devices, counted from 0")
    return torch.device(name, int(index or 0))
