"""The torch backend against transformers on the same weights, on tiny Phis with real structure."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
from engine_children import Later

from phibench import backends
from phibench.backends import torch as backend
from phibench.backends.torch import engine, open_model
from phibench.catalog import plans
from phibench.catalog.plans import hf_config
from phibench.core.errors import FallbackError, PhibenchError
from phibench.core.nouns import Artifact, Job, Setup, Suite, Variant, Workload
from phibench.measure import timing

pytestmark = [
    pytest.mark.engine("torch"),
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
]
torch: Any = Later("torch")

NAMES = ("phi-4-mini-instruct", "phi-4", "phi-2")
QUANTIZATIONS = ("fp32", "bf16", "fp16", "int8", "int4")
ORIGINAL = 64  # of the LongRoPE tests, where Phis have 4096
LAYERS = 2


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(name: str = "phi-4-mini-instruct", **changes: Any) -> Variant:
    variant = tiny.tiny(name)
    assert variant.shape is not None
    if variant.shape.longrope:
        changes = {"original_context": ORIGINAL, "context": 4 * ORIGINAL, **changes}
    return msgspec.structs.replace(variant, shape=msgspec.structs.replace(variant.shape, **changes))


def config(variant: Variant) -> dict[str, Any]:
    assert variant.shape is not None
    return hf_config.config(variant.shape, LAYERS)


def job(folder: Path, variant: str = "phi-4-mini-instruct", quantization: str = "fp32", weights: str = "real",
        device: str = "cpu", **options: str) -> Job:  # fmt: skip
    setup = Setup(variant=variant, quantization=quantization, backend="torch", device=device,
                  options=tuple(sorted(options.items())))  # fmt: skip
    file = Artifact(path=str(folder), bytes=0, weights=msgspec.convert(weights, type=Any))
    return Job(setup=setup, suite=Suite(name="s", question="?", metrics=()), workloads=(), artifact=file, threads=1)


def synthetic_folder(variant: Variant, folder: Path) -> Path:
    """A config.json alone: synthetic weights of a shape that is in no catalog."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(variant)))
    return folder


def reference(variant: Variant) -> Any:
    """transformers' own model, drawn so that attention is peaked and tokens are told apart."""
    from phibench.backends.torch import build

    model = build.empty(config(variant), "fp32", "cpu")
    build.synthetic(model, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            scale = 1.0 if "embed" in name else 2 / parameter.shape[1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    return save(small(request.param), tmp_path)


def save(variant: Variant, folder: Path) -> tuple[Any, Path]:
    model = reference(variant)
    model.save_pretrained(folder)
    return model, folder


def generated(model: Any, prompt: list[int], new: int) -> tuple[list[int], Any]:
    """Greedy tokens and their logits by ``model.generate``."""
    ids = torch.tensor([prompt])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False,
        eos_token_id=None, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    return found.sequences[0, len(prompt) :].tolist(), torch.cat(found.logits).numpy()


def prompt_of(count: int, seed: int = 0) -> list[int]:
    ids: list[int] = torch.randint(3, 1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids


# ---------------------------------------------------------------------------------------- same answers


def test_a_real_folder_answers_as_transformers_token_by_token(saved: tuple[Any, Path]) -> None:
    model, folder = saved
    prompt = prompt_of(20)
    tokens, logits = generated(model, prompt, 8)
    with backend.session(job(folder)) as session:
        ours = session.score(prompt, tokens[:-1])
    assert ours.dtype.name == "float32"
    assert abs(ours - logits).max() < 1e-3 * abs(logits).max()
    assert ours.argmax(1).tolist() == tokens


@pytest.mark.parametrize("prompt_tokens", [ORIGINAL - 4, ORIGINAL, ORIGINAL + 3])
def test_the_switch_of_longrope_is_that_of_generate(prompt_tokens: int, tmp_path: Path) -> None:
    """Before, at and after the original context: the token that passes it makes both compute everything again."""
    model, folder = save(small(), tmp_path)
    prompt = prompt_of(prompt_tokens)
    tokens, logits = generated(model, prompt, 10)
    with backend.session(job(folder)) as session:
        ours = session.score(prompt, tokens[:-1])
        again = session.score(prompt, tokens[:-1])
    assert abs(ours - logits).max() < 1e-3 * abs(logits).max()
    assert (ours == again).all()


@pytest.mark.parametrize("prompt_tokens", [10, 40])
def test_a_sliding_window_hides_what_transformers_hides(prompt_tokens: int, tmp_path: Path) -> None:
    model, folder = save(small("phi-4", sliding_window=16), tmp_path)
    prompt = prompt_of(prompt_tokens)
    tokens, logits = generated(model, prompt, 10)
    with backend.session(job(folder)) as session:
        ours = session.score(prompt, tokens[:-1])
    assert abs(ours - logits).max() < 1e-3 * abs(logits).max()


@pytest.mark.parametrize(
    ("quantization", "prompt_tokens"),
    [("bf16", 40), ("fp16", 8), ("int8", 8), ("int8", 40), ("int4", 40)],  # int8's own kernel serves short prompts
)
@pytest.mark.parametrize("name", NAMES)
def test_a_quantized_model_answers_as_its_dequantized_weights_do(
    name: str, quantization: str, prompt_tokens: int, tmp_path: Path
) -> None:
    from phibench.backends.torch.linear import Int4Linear, Int8Linear

    variant = small(name)
    model, folder = save(variant, tmp_path)
    prompt = prompt_of(prompt_tokens)
    with backend.session(job(folder, quantization=quantization)) as session:
        ours = session.score(prompt, prompt[:3])
        changed = 0
        for path, module in session._model.named_modules():
            if isinstance(module, Int8Linear | Int4Linear):
                exact = model.get_submodule(path).weight
                step = module.scale if isinstance(module, Int8Linear) else module.scales[..., 0]
                assert 0 < (module.dequantized() - exact).abs().max() < 0.6 * step.max()
                exact.copy_(module.dequantized())
                changed += 1
    per_layer = 6 if name == "phi-2" else 4
    assert changed == (LAYERS * per_layer if quantization.startswith("int") else 0)
    with torch.inference_mode():
        wanted = model(torch.tensor([prompt + prompt[:3]])).logits[0, len(prompt) - 1 :].numpy()
    assert abs(ours - wanted).max() < 0.06 * abs(wanted).max()  # what activations in 16 bits cost


@pytest.mark.parametrize("quantization", ["bf16", "fp16"])
@pytest.mark.parametrize(("name", "ffn", "parts"), [("phi-4", 8192, 2), ("phi-2", 17920, 4)])
def test_long_rows_are_cut_and_answer_the_same(
    name: str, ffn: int, parts: int, quantization: str, tmp_path: Path
) -> None:
    from phibench.backends.torch.linear import SplitLinear

    model, folder = save(small(name, ffn=ffn), tmp_path)
    prompt = prompt_of(12)
    with torch.inference_mode():
        wanted = model(torch.tensor([prompt])).logits[0, 8:].numpy()
    with backend.session(job(folder, quantization=quantization)) as session:
        ours = session.score(prompt[:9], prompt[9:])
        cut = {path: m for path, m in session._model.named_modules() if isinstance(m, SplitLinear)}
    assert len(cut) == LAYERS
    for path, module in cut.items():
        exact = model.get_submodule(path).weight
        assert len(module.weight) == parts
        assert torch.equal(module.whole(), exact.to(module.weight.dtype))
    assert abs(ours - wanted).max() < 0.06 * abs(wanted).max()


# ---------------------------------------------------------------------------------------- batches


def fed(session: Any, prompts: Any, then: Any) -> Any:
    """Logits after the prompts, then after each column of ``then``; shape (1 + columns, sequences, vocab)."""
    loop = session._loop
    loop.make_room(prompts.shape[1] + then.shape[1], len(prompts))
    loop.keep(0)
    return torch.stack([loop.feed(prompts), *(loop.feed(column) for column in then.split(1, 1))]).float()


def alone(session: Any, prompts: Any, then: Any) -> Any:
    """The same, one sequence after the other."""
    return torch.cat([fed(session, prompts[i : i + 1], then[i : i + 1]).clone() for i in range(len(prompts))], 1)


def several(sequences: int, tokens: int) -> tuple[Any, Any]:
    """Prompts and six tokens after each, different in every sequence."""
    ids = torch.tensor([prompt_of(tokens + 6, seed) for seed in range(sequences)])
    return ids[:, :tokens], ids[:, tokens:]


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_batch_answers_as_its_sequences_alone(saved: tuple[Any, Path], quantization: str) -> None:
    with opened(saved[1], quantization=quantization) as session:
        for sequences, tokens in ((2, 5), (5, 20)):  # 10 and 100 rows: on both sides of where int8 changes its way
            together, one_by_one = (way(session, *several(sequences, tokens)) for way in (fed, alone))
            most = abs(one_by_one).max()
            assert abs(together - one_by_one).max() < (1e-4 if quantization == "fp32" else 0.06) * most
            assert abs(one_by_one[:, 0] - one_by_one[:, 1]).max() > 0.5 * most  # sequences are told apart


@pytest.mark.parametrize("tokens", [ORIGINAL - 3, ORIGINAL + 2])
def test_the_switch_of_longrope_recomputes_every_sequence(tokens: int, tmp_path: Path) -> None:
    with opened(save(small(), tmp_path)[1]) as session:
        together, one_by_one = (way(session, *several(3, tokens)) for way in (fed, alone))
    assert torch.allclose(together, one_by_one, rtol=1e-3, atol=1e-3 * float(abs(one_by_one).max()))


@pytest.mark.parametrize("tokens", [10, 40])
def test_a_sliding_window_hides_the_same_in_every_sequence(tokens: int, tmp_path: Path) -> None:
    with opened(save(small("phi-4", sliding_window=16), tmp_path)[1]) as session:
        together, one_by_one = (way(session, *several(3, tokens)) for way in (fed, alone))
    assert torch.allclose(together, one_by_one, rtol=1e-3, atol=1e-3 * float(abs(one_by_one).max()))


def test_every_sequence_of_a_batch_has_its_own_depth_prompt_and_choice(tmp_path: Path) -> None:
    workload = Workload(prompt_tokens=4, new_tokens=3, depth=16, batch=3)
    fed_ids: list[Any] = []
    with opened(save(small(), tmp_path)[1]) as session:
        feed = session._loop.feed

        def listening(ids: Any) -> Any:
            fed_ids.append(ids.clone())
            return feed(ids)

        session._loop.feed = listening
        sample = timing.once(session, workload)
        assert [tuple(ids.shape) for ids in fed_ids] == [(3, 16), (3, 4), (3, 1), (3, 1)]
        assert session._loop.past == 16 + 4 + 2
        assert all(len(ids.unique(dim=0)) == 3 for ids in fed_ids[:2])
        session._loop.keep(0)
        logits = [feed(ids) for ids in fed_ids]
        for found, next_ids in zip(logits[1:], fed_ids[2:], strict=False):
            assert torch.equal(found.argmax(1, keepdim=True), next_ids)
        assert len(fed_ids[2].unique()) == 3
        session._loop.keep(16)
        filled = session._loop.cache[..., :16, :].clone()
        timing.once(session, workload)
        assert torch.equal(session._loop.cache[..., :16, :], filled)
        timing.once(session, Workload(prompt_tokens=4, new_tokens=3, batch=2))
        assert session._loop.cache.shape[2] == 2
    assert len(sample.arrivals_s) == 3


# ---------------------------------------------------------------------------------------- memory


def test_room_is_made_for_all_sequences_and_written(tmp_path: Path) -> None:
    """Linux counts a page once it is written: a cache that nobody touched would not show in a peak."""
    workload = Workload(prompt_tokens=4, new_tokens=3, batch=2, room=16384)
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        session.begin(workload)
        cache = session._loop.cache
        written = _resident_bytes(cache.data_ptr())
        timing.once(session, workload)
        assert cache.shape == (LAYERS, 2, 2, 2, 16384, 128)
        assert not cache[..., 6:, :].any()
        size = cache.numel() * cache.element_size()
        assert session.engine.buffers["kv"] == size == 134_217_728
        assert session.engine.options["kv_tokens"] == "16384"
    if sys.platform == "linux":
        assert written > 0.9 * size


def _resident_bytes(address: int) -> int:
    """Of the mapping that holds this address."""
    if sys.platform != "linux":
        return 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_buffers_are_the_bytes_of_the_tensors(quantization: str, tmp_path: Path) -> None:
    variant = small("phi-4")
    with opened(synthetic_folder(variant, tmp_path), quantization=quantization, weights="synthetic") as session:
        assert set(session.engine.buffers) == {"weights"}
        session.begin(Workload(prompt_tokens=4, new_tokens=2, batch=3))
        buffers = session.engine.buffers
    plan = plans.plan(variant, quantization, LAYERS, fmt="torch")
    assert variant.shape is not None
    per_token = backend.kv_bytes_per_token(variant.shape, quantization) * LAYERS // variant.shape.layers
    assert buffers["kv"] == 3 * 6 * per_token
    assert 0 <= buffers["weights"] - plan.weights_bytes < 1000  # tables of the rotary module


def test_what_lies_on_a_gpu_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not run on hardware: the arithmetic."""
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic", quantization="bf16") as session:
        session.begin(Workload(prompt_tokens=4, new_tokens=2))
        host = session._buffers()
        monkeypatch.setattr(session, "_device", torch.device("cuda", 0))
        session._job = job(tmp_path, device="cuda:0")
        most = sum(host.values()) + 12345
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: most)
        found = session._buffers()
    assert found == {
        "weights cuda:0": host["weights"], "kv cuda:0": host["kv"], "compute cuda:0": 12345,
    }  # fmt: skip


def test_need_counts_what_is_computed_at_once() -> None:
    from phibench import catalog

    variant = catalog.variant("phi-4-mini-instruct")
    shape = variant.shape
    assert shape is not None
    plan = plans.plan(variant, "bf16", None, fmt="torch")

    def compute(context: int, prompt: int | None = None, batch: int = 1, used: int | None = None) -> int:
        return backend.need(plan, shape, context, {}, prompt, batch, used).compute_bytes

    assert compute(8192, 512, used=528) == compute(32768, 512, used=528) == compute(528, 528)  # room costs cache alone
    assert compute(8192, 512) == compute(8192, 4097) > compute(4096, 512)  # the switch computes all anew
    assert compute(8192) == compute(8192, 8192) > compute(8192, 4097)
    assert compute(8192, 512, batch=4, used=528) > 3.5 * compute(8192, 512, used=528)
    one, four = (backend.need(plan, shape, 8192, {}, 512, batch) for batch in (1, 4))
    assert four.kv_bytes == 4 * one.kv_bytes == 4 * 8192 * backend.kv_bytes_per_token(shape, "bf16")
    assert four.weights_bytes == one.weights_bytes


# ---------------------------------------------------------------------------------------- depth and cache


def opened(folder: Path, **options: Any) -> Any:
    return backend.session(job(folder, **options))


def test_a_prompt_after_a_depth_is_one_prompt_cut_in_two(saved: tuple[Any, Path]) -> None:
    ids = torch.tensor([prompt_of(30)])
    with opened(saved[1]) as session:
        loop = session._loop
        loop.make_room(30)
        whole = loop.feed(ids).clone()
        assert loop.keep(0)
        loop.feed(ids[:, :20])
        assert torch.allclose(loop.feed(ids[:, 20:]), whole, rtol=1e-3, atol=1e-3)
        assert loop.keep(20)
        assert torch.allclose(loop.feed(ids[:, 20:]), whole, rtol=1e-3, atol=1e-3)


def test_a_depth_is_filled_once_and_reused(tmp_path: Path) -> None:
    workload = Workload(prompt_tokens=4, new_tokens=3, depth=16)
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        timing.once(session, workload)
        filled = session._loop.cache[..., :16, :].clone()
        sample = timing.once(session, workload)
        assert session._loop.past == 16 + 4 + 2
        assert torch.equal(session._loop.cache[..., :16, :], filled)  # random ids: filled again it would differ
        timing.once(session, Workload(prompt_tokens=4, new_tokens=3, depth=17))
        assert session._loop.past == 17 + 4 + 2
    assert len(sample.arrivals_s) == 3
    assert 0 < (sample.sampling_s or 0) < sample.arrivals_s[-1]


def test_what_long_factors_touched_is_not_reused_as_short(tmp_path: Path) -> None:
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        loop = session._loop
        loop.make_room(100)
        loop.feed(session._ids(1, 60))
        short = loop.cache[..., :60, :].clone()
        loop.feed(session._ids(1, 10))
        assert not torch.equal(loop.cache[:, 0, :, :, :60], short[:, 0])  # computed again, long
        assert not loop.keep(60)
        assert loop.keep(65)
        assert loop.past == 65


# ---------------------------------------------------------------------------------------- what runs


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_quantization_runs_and_weighs_what_its_plan_says(name: str, quantization: str, tmp_path: Path) -> None:
    variant = small(name)
    folder = synthetic_folder(variant, tmp_path)
    with opened(folder, quantization=quantization, weights="synthetic") as session:
        sample = timing.once(session, Workload(prompt_tokens=8, new_tokens=4))
        logits = session.score([1, 2, 3], [4, 5])
        held = [*session._model.parameters()]
        held += [b for key, b in session._model.named_buffers() if "rotary" not in key]
    plan = plans.plan(variant, quantization, LAYERS, fmt="torch")
    assert len(sample.arrivals_s) == 4
    assert logits.shape == (3, 1024)
    assert (abs(logits) < 1e5).all()
    assert plan.weights_bytes == sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert plan.parameters * 2 == plan.file_bytes


def test_no_two_synthetic_tensors_are_alike_and_none_is_zero(tmp_path: Path) -> None:
    folder = synthetic_folder(small(), tmp_path)
    for quantization in ("bf16", "int8", "int4"):
        with opened(folder, quantization=quantization, weights="synthetic") as session:
            tensors = [*session._model.state_dict().items()]
            names = dict(tensors)
            assert names.pop("lm_head.weight").data_ptr() == names["model.embed_tokens.weight"].data_ptr()
            contents = [tensor.view(torch.uint8).numpy().tobytes()[:2000] for tensor in names.values()]
            assert len(set(contents)) == len(contents)
            assert all(any(content) for content in contents)


def test_plans_know_the_parameters_of_every_phi_that_torch_runs() -> None:
    from phibench import catalog

    known = 0
    for variant in catalog.variants():
        if plans.objection(variant, "torch") is None and variant.modalities_in == ("text",):
            plan = plans.plan(variant, "int4", None, fmt="torch")
            assert plan.parameters == variant.parameters
            assert plan.facts == {"kv_type": "bf16", "logits": "last"}
            assert plan.tied == (plan.head == plan.embedding)
            known += 1
    assert known > 8
    with pytest.raises(PhibenchError, match="mixture of experts"):
        plans.plan(catalog.variant("phi-3.5-moe-instruct"), "bf16", None, fmt="torch")
    with pytest.raises(PhibenchError, match="trust_remote_code"):
        backends.plan(backends.load("torch"), catalog.variant("phi-3-small-8k-instruct"), "bf16")
    with pytest.raises(PhibenchError, match="unknown torch quantization 'int3'"):
        plans.plan(catalog.variant("phi-4"), "int3", None, fmt="torch")


def test_threads_are_set_and_told(tmp_path: Path) -> None:
    wanted = job(synthetic_folder(small(), tmp_path), weights="synthetic")
    with backend.session(msgspec.structs.replace(wanted, threads=2)) as session:
        timing.once(session, Workload(prompt_tokens=2, new_tokens=2))
        assert torch.get_num_threads() == 2
        assert session.engine.options["num_threads"] == "2"
        assert session.engine.options["dtype"] == "float32"


@pytest.mark.parametrize(("asked", "batch", "wanted"), [("off", 1, False), ("on", 1, True), ("off", 2, True)])
def test_onednn_serves_all_but_one_vector_and_that_where_asked(
    asked: str, batch: int, wanted: bool, tmp_path: Path
) -> None:
    seen = []
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic", onednn_decode=asked) as session:
        session._loop._norm.register_forward_hook(lambda *_: seen.append(torch.backends.mkldnn.enabled))
        timing.once(session, Workload(prompt_tokens=4, new_tokens=3, batch=batch))
    assert seen == [True, wanted, wanted]
    assert torch.backends.mkldnn.enabled


# ---------------------------------------------------------------------------------------- where it runs


def test_the_placement_is_read_from_the_tensors(tmp_path: Path) -> None:
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        timing.once(session, Workload(prompt_tokens=3, new_tokens=2))
        engine = session.engine
    assert re.fullmatch(r"all 1\d tensors on cpu", engine.placement)  # 14 of weights; of rotary tables 1 to 3
    assert "KV cache (2, 2, 1, 2, 5, 128) torch.float32, 20.5 kB, on cpu" in engine.evidence
    assert any(line.startswith("CPU capability") for line in engine.evidence)


def test_a_tensor_elsewhere_is_a_fallback_and_no_result(tmp_path: Path) -> None:
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        session._model.model.norm.to("meta")
        with pytest.raises(FallbackError, match=r"^fallback: asked for cpu, but .* on meta"):
            session.begin(Workload(prompt_tokens=3, new_tokens=2))


def test_a_device_that_is_not_there_is_refused_not_replaced(tmp_path: Path) -> None:
    for device in ("cuda:0", "rocm:0", "mps", "xpu"):
        if device in backend.devices() and getattr(torch, device.partition(":")[0]).is_available():
            continue
        with (
            pytest.raises(FallbackError, match=f"^fallback: asked for {device}") as found,
            opened(synthetic_folder(small(), tmp_path), weights="synthetic", device=device),
        ):
            pass
        assert found.value.exit_code == 1


class _Cuda:
    """A torch that has a GPU, as far as choosing a device goes. Not run on hardware."""

    __version__ = "2.13.0+cu130"

    def __init__(self, hip: str | None) -> None:
        self.device = torch.device
        self.version = type("version", (), {"hip": hip})
        self.cuda = type("cuda", (), {"is_available": staticmethod(lambda: True), "device_count": lambda: 2})


def test_cuda_and_rocm_are_one_name_in_torch_and_two_here() -> None:
    assert open_model._device(_Cuda(None), "cuda:1") == torch.device("cuda", 1)
    assert open_model._device(_Cuda("6.3"), "rocm:0") == torch.device("cuda", 0)
    for hip, device in ((None, "rocm:0"), ("6.3", "cuda:0")):
        with pytest.raises(PhibenchError, match=r"^fallback: "):
            open_model._device(_Cuda(hip), device)


def test_a_number_that_the_machine_lacks_is_a_fallback() -> None:
    for device in ("cuda:2", "cuda:9"):
        with pytest.raises(PhibenchError, match=f"^fallback: asked for {device}, but torch finds 2") as found:
            open_model._device(_Cuda(None), device)
        assert found.value.exit_code == 1


def test_mps_that_may_compute_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    with pytest.raises(PhibenchError, match="PYTORCH_ENABLE_MPS_FALLBACK=1 lets torch compute on the cpu") as found:
        open_model._device(torch, "mps")
    assert found.value.exit_code == 2
    assert open_model._device(torch, "cpu") == torch.device("cpu")


def test_a_gpu_has_filled_the_depth_before_the_clock_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not run on hardware: the order of calls."""
    done: list[str] = []
    with opened(synthetic_folder(small(), tmp_path), weights="synthetic") as session:
        monkeypatch.setattr(session._loop, "feed", lambda ids: done.append(f"feed {ids.shape[1]}"))
        monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: done.append("wait"))
        monkeypatch.setattr(session, "_check_placement", lambda: None)
        monkeypatch.setattr(session, "_device", torch.device("meta"))
        session.begin(Workload(prompt_tokens=4, new_tokens=2, depth=16))
    assert done == ["feed 16", "wait"]


def test_int4_tells_where_it_has_no_kernel() -> None:
    from phibench.backends.torch import build

    with pytest.raises(PhibenchError, match="int4 kernel of torch for mps; use int8 or bf16"):
        build.empty(config(small()), "int4", "mps")
    shapes = {k: tuple(b.shape) for k, b in build.empty(config(small()), "int4", "cuda").named_buffers()}
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (96, 4, 32, 4)


@pytest.mark.parametrize(
    ("text", "apple", "wanted"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = None\n", False, ("cpu",)),
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", False, ("cpu", "cuda:0")),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.3.1'\n", False, ("cpu", "rocm:0")),
        ("cuda = None\nhip = None\nxpu = '20250101'\n", False, ("cpu", "xpu:0")),
        ("", True, ("cpu", "mps")),
    ],
)
def test_the_build_is_told_by_its_version_file(text: str, apple: bool, wanted: tuple[str, ...]) -> None:
    assert engine.built(text, apple=apple) == wanted


def test_without_torch_or_transformers_there_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "transformers":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    import torch as loaded

    assert backend.installed() == loaded.__version__
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert backend.installed() is None
    with pytest.raises(PhibenchError, match=r'pip install .*\[torch\]"'):
        backends.require("torch")


# ---------------------------------------------------------------------------------------- folders


def refused(folder: Path, match: str) -> None:
    with pytest.raises(PhibenchError, match=match), opened(folder):
        pass


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    folder = synthetic_folder(small(), tmp_path / "model")
    refused(folder, r"no \*\.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refused(folder, "only pickles, which could run code")


def test_a_file_that_the_index_does_not_name_is_not_opened(tmp_path: Path) -> None:
    """An adapter beside the model, say."""
    from safetensors.torch import load_file, save_file

    _, folder = save(small(), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"base_model.lora_A.weight": torch.zeros(2, 3)}, folder / "adapter_model.safetensors")
    with opened(folder) as session:
        assert torch.equal(session._model.model.norm.weight, tensors["model.norm.weight"])
    index["weight_map"] = {"model.norm.weight": "../model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "outside of itself")


def test_code_of_a_folder_is_never_run(tmp_path: Path) -> None:
    _, folder = save(small(), tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(settings | {"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}})
    )
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with opened(folder) as session:
        assert type(session._model).__name__ == "Phi3ForCausalLM"
    sources = [*(Path(backends.__file__).parent / "torch").glob("*.py")]
    assert sources
    assert not [source for source in sources if "trust_remote_code" in source.read_text()]


def test_a_folder_that_is_not_its_config_is_one_clear_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, folder = save(small(), tmp_path / "model")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, file)
    refused(folder, r"it lacks model\.norm\.weight")
    save_file(tensors | {"model.norm.weight": norm, "model.extra": norm.clone()}, file)
    refused(folder, r"it has model\.extra")
    save_file(tensors | {"model.norm.weight": norm[:10].clone()}, file)
    refused(folder, r"model\.norm\.weight is \(10,\) in the file, \(768,\) in config\.json")
    file.write_bytes(b"nonsense")
    refused(folder, r"model\.safetensors cannot be read")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "llama"}))
    refused(folder, "config.json is of a 'llama' model; the torch backend runs: phi3, phi")
    (folder / "config.json").write_text("[]")
    refused(folder, r"config\.json holds no settings")
    (folder / "config.json").unlink()
    refused(folder, r"no Hugging Face folder: config\.json cannot be read")


# ---------------------------------------------------------------------------------------- a process of its own


OPEN = """
import sys, msgspec
from phibench.measure import timing as measure
from phibench.backends import torch as backend
from phibench.core.nouns import Job, Workload
job = msgspec.json.decode(sys.argv[1], type=Job)
with backend.session(job) as session:
    measure.once(session, Workload(prompt_tokens=int(sys.argv[2]), new_tokens=2))
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_is_silent_and_needs_what_was_estimated(tmp_path: Path) -> None:
    variant = small(vocab=100_352, ffn=8192)
    assert variant.shape is not None
    wanted = job(synthetic_folder(variant, tmp_path), quantization="bf16", weights="synthetic")
    prompt = 200
    command = [sys.executable, "-c", OPEN, msgspec.json.encode(wanted).decode(), str(prompt)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    need = backend.need(plans.plan(variant, "bf16", LAYERS, fmt="torch"), variant.shape, prompt + 2, {})
    peak = need.total_bytes + need.reclaimable_bytes  # pages of libraries among it
    assert 0.85 < peak / int(done.stdout) < 1.25


@pytest.mark.filterwarnings("ignore")
def test_int8_stands_for_the_weights_that_torchao_would_make() -> None:
    """The same but for roundings to bf16, never more than a step. (torchao's int4 for CPUs is a prototype in 0.18.)"""
    quantize = pytest.importorskip("torchao.quantization")
    from phibench.backends.torch import linear

    torch.manual_seed(5)
    matrix = (torch.randn(64, 256) * torch.rand(64, 1)).bfloat16()
    theirs = torch.nn.Sequential(torch.nn.Linear(256, 64, bias=False, dtype=torch.bfloat16))
    theirs[0].weight.data = matrix
    quantize.quantize_(theirs, quantize.Int8WeightOnlyConfig())
    ours = linear.Int8Linear(64, 256, None, "cpu")
    ours.take(matrix)
    meant = theirs(torch.eye(256, dtype=torch.bfloat16)).float().t()
    steps = (ours.dequantized() - meant).abs() / (matrix.float().abs().amax(1, keepdim=True) / 127)
    assert steps.mean() < 0.2
    assert steps.max() < 1.1
