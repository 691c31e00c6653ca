"""The onnxruntime backend on real models of narrow Phis; providers of other hardware by what their profiles say."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from builder import narrow, shape_of
from hypothesis import given
from hypothesis import strategies as st

from phibench import backends, catalog
from phibench.backends import onnxruntime as backend
from phibench.backends.onnxruntime import buffers, providers
from phibench.backends.onnxruntime import profile as onnxruntime_profile
from phibench.catalog import plans
from phibench.catalog.plans import base
from phibench.catalog.readers.folder import recognise
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Job, Setup, Suite, Workload
from phibench.measure import timing

pytestmark = [
    pytest.mark.engine("onnxruntime"),
    pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="onnx is not installed"),
]
SUITE = Suite(name="test", question="?", metrics=())
CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of Phi-4-mini in int4: LongRoPE, one matrix for embedding and head."""
    return made(tmp_path_factory, "phi-4-mini-instruct")


@pytest.fixture(scope="module")
def phi_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory, "phi-2")


def made(factory: pytest.TempPathFactory, name: str) -> Path:
    from phibench.synth import onnx

    folder = factory.mktemp(name) / "int4"
    onnx.write(plans.plan(narrow(name), "int4", None, fmt="onnx"), folder)
    return folder


def job(folder: Path, device: str = "cpu", threads: int = 1, **options: str) -> Job:
    setup = Setup(variant="phi-4-mini-instruct", quantization="int4", backend="onnxruntime", device=device,
                  options=tuple(sorted(options.items())))  # fmt: skip
    artifact = Artifact(path=str(folder), bytes=0, weights="synthetic")
    return Job(setup=setup, suite=SUITE, workloads=(), artifact=artifact, threads=threads)


def by_hand(folder: Path, size: int) -> Any:
    """A generator as Microsoft's examples make it."""
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=size, do_sample=False)
    return og.Generator(model, params)


def changed(folder: Path, to: Path, **model: object) -> Path:
    """A copy whose genai_config.json says something else of the model."""
    shutil.copytree(folder, to)
    config = json.loads((to / "genai_config.json").read_text())
    config["model"] |= model
    (to / "genai_config.json").write_text(json.dumps(config))
    return to


def refused(folder: Path, device: str = "cpu", code: int = 1) -> str:
    with pytest.raises(PhibenchError) as error, backend.session(job(folder, device)):
        pass
    assert error.value.exit_code == code
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------------------------ what is measured


@pytest.mark.parametrize("prompt", [6, 61, 80], ids=["short", "across LongRoPE's switch", "long"])
def test_scores_are_those_of_a_loop_by_hand(package: Path, prompt: int) -> None:
    given, then = list(range(40, 40 + prompt)), [7, 300, 11, 9, 64]
    generator = by_hand(package, 128)
    expected = []
    for ids in (given, *([token] for token in then)):
        generator.append_tokens(np.array(ids, np.int32))
        expected.append(generator.get_logits().reshape(-1))
    with backend.session(job(package)) as session:
        found = session.score(given, then)
        again = session.score(given, then)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack(expected))
    np.testing.assert_array_equal(again, found)


def test_a_step_chooses_as_the_scores_say(package: Path) -> None:
    with backend.session(job(package)) as session:
        timing.once(session, Workload(prompt_tokens=12, new_tokens=9))
        ids = [int(i) for i in session._generator.get_sequence(0)]
        scores = session.score(ids[:12], ids[12:-1])
    ends = session._config.special[1:]
    scores[:, list(ends)] = -np.inf
    assert [int(i) for i in scores.argmax(axis=1)] == ids[12:]


def test_no_end_of_text_stops_a_run(phi_2: Path, tmp_path: Path) -> None:
    """All words but sixteen end a text, so that greedy choice would meet one at once."""
    words = set(range(5, 21))
    folder = changed(phi_2, tmp_path / "ends", eos_token_id=[*set(range(416)) - words], pad_token_id=0)
    with backend.session(job(folder)) as session:
        sample = timing.once(session, Workload(prompt_tokens=5, new_tokens=40))
        ids = [int(i) for i in session._generator.get_sequence(0)]
    assert len(sample.arrivals_s) == 40
    assert len(ids) == 45
    assert set(ids) <= words


def test_room_is_what_the_workload_needs_and_is_recorded(package: Path) -> None:
    """The package itself asks for its whole context."""
    said = json.loads((package / "genai_config.json").read_text())["search"]["max_length"]
    with backend.session(job(package, threads=2)) as session:
        for workload in (Workload(prompt_tokens=9, new_tokens=0), Workload(prompt_tokens=0, new_tokens=4, depth=20)):
            timing.once(session, workload)
            options = session.engine.options
            assert options["max_length"] == str(workload.context + 1) != str(said)
            assert (options["intra_op_num_threads"], options["inter_op_num_threads"]) == ("2", "1")
        with pytest.raises(RuntimeError, match="already at max_length"):
            session._generator.generate_next_token()


def test_the_whole_context_can_be_measured_and_no_token_more(package: Path) -> None:
    context = 256
    with backend.session(job(package)) as session:
        timing.once(session, Workload(prompt_tokens=context, new_tokens=0))
        timing.once(session, Workload(prompt_tokens=context - 3, new_tokens=3))
        with pytest.raises(PhibenchError, match=r"has a context of 256 tokens, the test needs 257"):
            session.begin(Workload(prompt_tokens=250, new_tokens=7))


def test_a_prompt_in_chunks_gives_the_same_answer(package: Path) -> None:
    given = list(range(50, 90))
    with backend.session(job(package)) as whole, backend.session(job(package, chunk_size="16")) as cut:
        np.testing.assert_allclose(cut.score(given, [3]), whole.score(given, [3]), atol=2e-3)
        for _ in range(2):  # the engine itself would cut the first prompt alone
            timing.once(cut, Workload(prompt_tokens=40, new_tokens=1))
            assert cut._generator.get_output("logits").shape[1] == 40 % 16
        assert cut.engine.options["chunk_size"] == "16"
        assert whole.engine.options["chunk_size"] == "0"


def test_depth_is_kept_between_repetitions(package: Path) -> None:
    ids = np.array([9, 8, 7], np.int32)
    workload = Workload(prompt_tokens=3, new_tokens=2, depth=16)
    with backend.session(job(package)) as session:
        session.begin(workload)
        session._append(ids)
        first, held = session._generator.get_logits().copy(), [int(i) for i in session._generator.get_sequence(0)[:16]]
        timing.once(session, workload)
        session.begin(workload)
        assert [int(i) for i in session._generator.get_sequence(0)] == held  # random: filled anew it would differ
        session._append(ids)
        np.testing.assert_array_equal(session._generator.get_logits(), first)
        session.begin(Workload(prompt_tokens=3, new_tokens=18))  # the same room, nothing in it
        assert session._generator.token_count() == 0


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A context beyond the token at which onnxruntime-genai computes all keys anew, with LongRoPE's other factors."""
    from phibench.synth import onnx

    shape = msgspec.structs.replace(shape_of("phi-4-mini-instruct"), context=8192, original_context=4096)
    wanted = msgspec.structs.replace(narrow("phi-4-mini-instruct"), shape=shape)
    folder = tmp_path_factory.mktemp("long") / "int4"
    onnx.write(plans.plan(wanted, "int4", None, fmt="onnx"), folder)
    return folder


def test_a_cache_that_the_engine_recomputed_is_filled_anew(long: Path) -> None:
    workload = Workload(prompt_tokens=0, new_tokens=5, depth=4094)
    with backend.session(job(long)) as session:
        session.begin(workload)
        held = [int(i) for i in session._generator.get_sequence(0)]
        for _ in range(5):
            session.step()
        assert session._generator.token_count() == 4100
        session.begin(workload)
        assert session._generator.token_count() == 4094
        assert [int(i) for i in session._generator.get_sequence(0)] != held


@pytest.mark.parametrize(("batch", "chunk"), [(1, ""), (1, "256"), (2, "")])
def test_a_sequence_alone_is_computed_anew_whole_and_several_never(batch: int, chunk: str, long: Path) -> None:
    """What ``need`` counts on: the rows of logits are the tokens of the last run."""
    options: dict[str, Any] = {"chunk_size": chunk} if chunk else {}
    with backend.session(job(long, **options)) as session:
        session.begin(Workload(prompt_tokens=0, new_tokens=5, depth=4094, batch=batch))
        rows = set()
        for _ in range(5):
            session.step()
            rows.add(session._generator.get_output("logits").shape[1])
    assert rows == ({1, 4097} if batch == 1 else {1})


@pytest.mark.parametrize("quantization", ["int4-acc0", "int8", "fp16", "fp32"])
@pytest.mark.parametrize("name", ["phi-2", "phi-4"])
def test_every_quantization_runs(name: str, quantization: str, tmp_path: Path) -> None:
    from phibench.synth import onnx

    onnx.write(plans.plan(narrow(name), quantization, None, fmt="onnx"), tmp_path / "any")
    with backend.session(job(tmp_path / "any")) as session:
        for workload in (Workload(prompt_tokens=9, new_tokens=2), Workload(prompt_tokens=0, new_tokens=3, depth=20)):
            for _ in range(2):
                assert len(timing.once(session, workload).arrivals_s) == workload.new_tokens
        stepwise, whole = session.score(range(50, 60), [7, 8])[-1], session.score([*range(50, 60), 7, 8], [])[0]
    np.testing.assert_allclose(stepwise, whole, atol=0.02)


def test_a_graph_that_takes_no_prompt_behind_a_filled_cache_says_so(tmp_path: Path) -> None:
    """What the builder exports in fp16 for cpus: its mask fits a first prompt, or one token."""
    from phibench.synth import onnx

    onnx.write(plans.plan(narrow("phi-2"), "fp16", None, fmt="onnx"), tmp_path / "fp16")
    with (
        backend.session(job(tmp_path / "fp16")) as session,
        pytest.raises(PhibenchError, match="4 tokens behind 16, where its graph takes one at a time"),
    ):
        timing.once(session, Workload(prompt_tokens=4, new_tokens=1, depth=16))


# ------------------------------------------------------------------------------------------------ several sequences


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("phi-4-mini-instruct", "int4"), ("phi-2", "int4"), ("phi-4", "fp16"), ("phi-3.5-mini-instruct", "fp32")],
)
def test_each_sequence_of_a_batch_gets_what_it_gets_alone(name: str, quantization: str, tmp_path: Path) -> None:
    """Prompts of 61 tokens, all different, and answers beyond the switch of the factors at 65."""
    from phibench.synth import onnx

    onnx.write(plans.plan(narrow(name), quantization, None, fmt="onnx"), tmp_path / "any")
    workload = Workload(prompt_tokens=61, new_tokens=9, batch=3)
    with backend.session(job(tmp_path / "any")) as session:
        for _ in range(2):
            assert len(timing.once(session, workload).arrivals_s) == 9
        assert session.engine.options["batch_size"] == "3"
        together = [session._generator.get_sequence(row).copy() for row in range(3)]
        first = [session.score(row[:61], [])[0] for row in together]
        session.begin(workload)
        session._append(np.stack([row[:61] for row in together]).astype(np.int32))
        np.testing.assert_allclose(session._generator.get_logits().reshape(3, -1), first, atol=1e-4)
    assert len({tuple(row[:61]) for row in together}) == 3
    for row in together:
        generator = by_hand(tmp_path / "any", 80)
        generator.append_tokens(row[:61])
        for _ in range(9):
            generator.generate_next_token()
        np.testing.assert_array_equal(row, generator.get_sequence(0))


@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "phi-2"])
@pytest.mark.parametrize("depth", [0, 20])
def test_steps_of_a_batch_go_on_from_its_depth(name: str, depth: int, tmp_path: Path) -> None:
    from phibench.synth import onnx

    onnx.write(plans.plan(narrow(name), "int4", None, fmt="onnx"), tmp_path / "any")
    workload = Workload(prompt_tokens=0, new_tokens=4, depth=depth, batch=2)
    with backend.session(job(tmp_path / "any")) as session:
        for _ in range(2):
            assert len(timing.once(session, workload).arrivals_s) == 4
            assert session._generator.token_count() == depth + 5
        logits = session._generator.get_output("logits").reshape(2, -1)
        rows = [session._generator.get_sequence(row).copy() for row in range(2)]
        assert list(rows[0][: depth or 1]) != list(rows[1][: depth or 1])
        for row, found in zip(rows, logits, strict=True):
            expected = session.score(row[:-1], [])[0]
            kept = found > np.finfo(np.float32).min  # the engine rules out the end of a text
            np.testing.assert_allclose(found[kept], expected[kept], atol=2e-3)


def test_what_the_engine_cannot_do_with_a_batch_is_said(package: Path) -> None:
    with backend.session(job(package)) as session:
        with pytest.raises(PhibenchError, match="behind a filled cache of one sequence only"):
            session.begin(Workload(prompt_tokens=4, new_tokens=1, depth=8, batch=2))
        with pytest.raises(PhibenchError, match=r"room for 8 tokens of 33 sequences: batch_size \(33\)"):
            session.begin(Workload(prompt_tokens=4, new_tokens=4, batch=33))
        session.begin(Workload(prompt_tokens=4, new_tokens=4, batch=32))
    with backend.session(job(package, chunk_size="16")) as session, pytest.raises(PhibenchError, match="no chunk_size"):
        session.begin(Workload(prompt_tokens=40, new_tokens=1, batch=2))


def test_room_beyond_the_test_is_made_for_every_sequence(package: Path) -> None:
    with backend.session(job(package)) as session:
        timing.once(session, Workload(prompt_tokens=9, new_tokens=2, room=200, batch=2))
        assert session.engine.options["max_length"] == "201"
        assert session._generator.get_input("past_key_values.0.key").shape[::2] == (2, 201)
        timing.once(session, Workload(prompt_tokens=9, new_tokens=2, room=200))
        assert session._generator.get_input("past_key_values.0.key").shape[::2] == (1, 201)
        timing.once(session, Workload(prompt_tokens=9, new_tokens=2))
        assert session._generator.get_input("past_key_values.0.key").shape[::2] == (1, 12)


# ------------------------------------------------------------------------------------------------ what is refused


def test_what_cannot_be_opened_is_one_clear_line(package: Path, tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "nothing")
    broken = changed(package, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"ONNX" * 20)
    assert refused(broken).startswith("onnxruntime-genai cannot open broken on cpu: ")
    (broken / "genai_config.json").write_text("{}")
    assert "is not a configuration of onnxruntime-genai" in refused(broken)
    cut = changed(package, tmp_path / "cut")
    (cut / "model.onnx.data").write_bytes(b"")
    assert refused(cut).startswith("onnxruntime-genai cannot ")


@pytest.mark.parametrize("vocab", ["many", -1, 1e400, None, 10**30])
def test_a_configuration_of_nonsense(package: Path, tmp_path: Path, vocab: object) -> None:
    assert "genai_config.json" in refused(changed(package, tmp_path / "odd", vocab_size=vocab))


LIBRARY = '{"model": {"decoder": {"session_options": {"custom_ops_library": "evil.so"}}}, "model": '


@pytest.mark.parametrize("twice", [False, True], ids=["plain", "hidden behind a second key"])
def test_a_library_in_the_folder_is_never_loaded(
    twice: bool, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-genai would run its code; it merges keys that come twice, of which Python sees the last alone."""
    import onnxruntime_genai as og

    decoder = json.loads((package / "genai_config.json").read_text())["model"]["decoder"]
    folder = tmp_path / "evil"
    if twice:
        text = (changed(package, folder) / "genai_config.json").read_text()
        (folder / "genai_config.json").write_text(text.replace('{"model": ', LIBRARY, 1))
        assert json.loads((folder / "genai_config.json").read_text()) == json.loads(text)
    else:
        decoder["session_options"]["custom_ops_library"] = "evil.so"
        changed(package, folder, decoder=decoder)
    (folder / "evil.so").write_bytes(b"no library at all")
    with pytest.raises(Exception, match=r"evil\.so"):  # the engine itself would
        og.Model(str(folder))
    monkeypatch.setattr(og, "Config", lambda path: pytest.fail("the engine was opened"))
    said = refused(folder, code=2)
    assert ("'model' twice" if twice else "'custom_ops_library'") in said
    with pytest.raises(PhibenchError) as error:
        recognise(folder)
    assert (str(error.value), error.value.exit_code) == (said, 2)


def test_a_device_that_is_not_here_is_refused_not_replaced(package: Path) -> None:
    if "cuda:0" in backend.devices():
        pytest.skip("this build has CUDA")
    assert refused(package, "cuda:0").startswith("fallback: onnxruntime, as installed here, cannot use cuda")


@pytest.mark.parametrize("device", ["xpu:1", "npu:1", "webgpu:1"])
def test_a_second_device_that_cannot_be_chosen_is_refused(
    device: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first in its name. No such hardware is needed: nothing is opened."""
    monkeypatch.setattr(providers, "provider", lambda kind: (providers.PROVIDERS[kind][0], Path("provider.so")))
    assert f"ask for {device[:-2]}:0" in refused(package, device, code=2)


def test_a_missing_package_comes_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_MODULES", ("json", "no_such_engine"))
    assert backend.installed() is None
    assert backend.devices() == ()
    with pytest.raises(PhibenchError, match=r'pip install .*\[onnxruntime\]"'):
        backends.require("onnxruntime")


@pytest.mark.parametrize(
    ("libraries", "kinds"),
    [
        ((), ("cpu",)),
        (("capi/libonnxruntime_providers_cuda.so",), ("cpu",)),  # onnxruntime-genai without CUDA cannot use it
        (
            ("capi/libonnxruntime_providers_cuda.so", "../onnxruntime_genai/libonnxruntime-genai-cuda.so"),
            ("cpu", "cuda:0"),
        ),
        (("capi/onnxruntime_providers_openvino.dll",), ("cpu", "xpu:0", "npu")),
        (("capi/DirectML.dll",), ("cpu", "dml")),
        (("capi/onnxruntime_providers_qnn.dll",), ("cpu", "npu")),
        (("../onnxruntime_ep_webgpu/libonnxruntime_providers_webgpu.so",), ("cpu", "webgpu")),
        (("capi/libonnxruntime.1.32.0.dylib",), ("cpu", "coreml")),
    ],
)
def test_devices_by_the_files_of_the_build(
    libraries: tuple[str, ...], kinds: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages made for the occasion; none of these was run on its hardware."""
    for name in ("onnxruntime", "onnxruntime_genai", "onnxruntime_ep_webgpu"):
        (tmp_path / name / "capi").mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, name, raising=False)
    for library in libraries:
        (tmp_path / "onnxruntime" / library).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert backend.devices() == kinds


# ------------------------------------------------------------------------------------------------ where it ran


def test_onnx_runtime_says_where_every_node_ran(package: Path) -> None:
    with backend.session(job(package)) as session:
        engine = session.engine
    assert engine.placement.startswith(f"{CPU} ")
    assert engine.placement.endswith("(13 of 13 matrix products and attentions)")
    line, tensors = engine.evidence
    assert tensors.startswith("KV cache of 2 layers x 2 x 1 heads x 64 float32 a token, logits of every token")
    assert line.startswith(f"{CPU}: 11 MatMulNBits, ")
    assert "2 GroupQueryAttention" in line


def event(provider: str, operator: str, category: str = "Node") -> dict[str, Any]:
    """As ONNX Runtime 1.32 writes it, abridged."""
    return {"cat": category, "dur": 59, "ts": 18, "ph": "X", "name": f"/{operator}_kernel_time",
            "args": {"op_name": operator, "provider": provider, "node_index": "9"}}  # fmt: skip


def profile(**ran: dict[str, int]) -> bytes:
    events = [event(p, op) for p, ops in ran.items() for op, count in ops.items() for _ in range(count)]
    return json.dumps([{"cat": "Session", "name": "model_run", "args": {}}, *events]).encode()


@pytest.mark.parametrize(
    ("wanted", "ran", "why"),
    [
        (CUDA, {CUDA: {"MatMulNBits": 161, "GroupQueryAttention": 32}, CPU: {"Shape": 1, "Gather": 1}}, None),
        (CUDA, {CUDA: {"MatMul": 160}, CPU: {"GatherBlockQuantized": 1, "MatMulNBits": 1}}, None),
        (CUDA, {CPU: {"MatMulNBits": 161}}, "executed no node"),
        (CUDA, {}, "the profile says nothing"),
        (CUDA, {CUDA: {"SkipSimplifiedLayerNormalization": 200}, CPU: {"MatMulNBits": 161}}, "most matrix products"),
        (CUDA, {CUDA: {"MatMul": 9}, CPU: {"GroupQueryAttention": 32}}, "most matrix products and attentions"),
        (OPENVINO, {OPENVINO: {"OpenVINOExecutionProvider_OpenVINO-EP-subgraph_1_0": 1}}, None),
        (OPENVINO, {OPENVINO: {"OpenVINO-EP-subgraph_1": 1}, CPU: {"MatMulNBits": 160}}, "1 of 161 matrix products"),
    ],
)
def test_a_fallback_is_told_from_a_placement(wanted: str, ran: dict[str, dict[str, int]], why: str | None) -> None:
    """Recorded forms of profiles; CUDA and OpenVINO were not run on hardware."""
    said = onnxruntime_profile.fallback(onnxruntime_profile.nodes(profile(**ran)), wanted)
    assert (why is None) == (said is None)
    assert (why or "") in (said or "")


@pytest.mark.parametrize(
    ("ran", "part"),
    [
        ({CUDA: {"MatMulNBits": 161, "GroupQueryAttention": 32}, CPU: {"Gather": 1}}, ""),
        ({CPU: {"MatMulNBits": 161}, "": {"Shape": 1}}, ""),
        (
            {CUDA: {"MatMul": 161}, CPU: {"GroupQueryAttention": 32, "MatMulNBits": 1, "Shape": 2}},
            "partial fallback to the cpu: 32 GroupQueryAttention, 1 MatMulNBits",
        ),
        ({CUDA: {"Gemm": 2}, CPU: {"MultiHeadAttention": 1}}, "partial fallback to the cpu: 1 MultiHeadAttention"),
    ],
)
def test_a_partial_fallback_is_told(ran: dict[str, dict[str, int]], part: str) -> None:
    said = onnxruntime_profile.placement(onnxruntime_profile.nodes(profile(**ran)))
    assert said.endswith(part)
    assert ("partial fallback" in said) == bool(part)
    assert CUDA not in ran or onnxruntime_profile.fallback(onnxruntime_profile.nodes(profile(**ran)), CUDA) is None


def test_a_profile_that_says_nothing_is_no_proof() -> None:
    for content in (b"", b"[", b"[" * 100_000, b"[]"):
        assert onnxruntime_profile.nodes(content) == Counter()
    assert onnxruntime_profile.fallback(Counter(), CUDA) is not None


# ------------------------------------------------------------------------------------------------ memory


def test_memory_is_the_sum_of_its_parts() -> None:
    variant = catalog.variant("phi-4-mini-instruct")
    assert variant.shape is not None
    plan = plans.plan(variant, "int4", None, fmt="onnx")

    def need(context: int, plan: base.Plan = plan, **options: str) -> Any:
        assert variant.shape is not None
        return backend.need(plan, variant.shape, context, options)

    assert need(1000).kv_bytes == 1001 * 262_144  # fp32: twice what llama.cpp keeps
    assert need(2000).compute_bytes - need(1000).compute_bytes > 1000 * 200_064 * 4
    last = msgspec.structs.replace(plan, facts={**plan.facts, "logits": "last"})
    assert need(1000).compute_bytes - need(1000, last).compute_bytes == 999 * 200_064 * 4
    assert need(4000, chunk_size="512").compute_bytes == need(512).compute_bytes
    assert need(4000, chunk_size="512").kv_bytes == need(4000).kv_bytes
    assert need(8000, chunk_size="512").compute_bytes == need(4097).compute_bytes  # computed anew, in no chunks
    assert backend.need(plan, variant.shape, 4000, {}, 1000).compute_bytes == need(1000).compute_bytes
    assert backend.need(plan, variant.shape, 8000, {}, 1000).compute_bytes == need(4097).compute_bytes  # computed anew
    half = plans.plan(variant, "fp16", None, fmt="onnx")
    assert need(1000, half).kv_bytes == 2 * 1001 * 131_072  # past and present apart
    shared = msgspec.structs.replace(half, facts={**half.facts, "kv_buffer": "shared"})
    assert need(1000, shared).kv_bytes == 1001 * 131_072


def test_memory_of_a_test_is_that_of_its_tokens_in_its_room() -> None:
    variant = catalog.variant("phi-4-mini-instruct")
    shape = variant.shape
    assert shape is not None
    int4, int8 = (plans.plan(variant, one, None, fmt="onnx") for one in ("int4", "int8"))

    def need(plan: base.Plan, context: int, prompt: int, batch: int = 1, used: int | None = None) -> Any:
        return backend.need(plan, shape, context, {}, prompt, batch, used)

    short = need(int4, 8192, 512, used=528)
    assert short.kv_bytes == 8193 * 262_144  # zeroed at once, full or not
    assert short.compute_bytes == need(int4, 528, 512).compute_bytes
    assert need(int4, 8192, 512).compute_bytes > 7 * short.compute_bytes  # a full context is computed anew at 4097
    assert need(int4, 8192, 512, batch=4, used=528).kv_bytes == 4 * short.kv_bytes
    assert need(int4, 8192, 512, batch=4, used=528).compute_bytes == 4 * short.compute_bytes
    assert need(int4, 8192, 512, batch=4).compute_bytes == 4 * short.compute_bytes  # several are never computed anew
    assert need(int4, 1024, 0, batch=2).compute_bytes == 2 * need(int4, 1024, 1024).compute_bytes  # nor filled in parts
    assert short.reclaimable_bytes / 2**20 == pytest.approx(457, rel=0.01)  # the scales of 2,286 MiB of blocks
    assert need(plans.plan(variant, "int4-acc0", None, fmt="onnx"), 8192, 512, used=528).reclaimable_bytes == 0  # read
    # an embedding of its own is read from the file: by a test's random tokens all over
    none, few, many = need(int8, 8192, 512), need(int8, 8192, 512, used=528), need(int8, 8192, 512, used=8192)
    assert 0 < few.weights_bytes - none.weights_bytes <= 528 * 2**16
    assert few.weights_bytes < many.weights_bytes
    assert few.reclaimable_bytes == many.reclaimable_bytes == none.reclaimable_bytes  # the scales alone


QUANTIZATIONS = ("int4", "int4-acc0", "int8", "fp16", "fp32")


@given(
    st.sampled_from(("phi-2", "phi-4", "phi-4-mini-instruct")), st.sampled_from(QUANTIZATIONS),
    st.integers(1, 131_072), st.integers(1, 131_072), st.one_of(st.none(), st.integers(0, 8192)), st.integers(1, 32),
)  # fmt: skip
def test_more_context_never_takes_less(
    name: str, quantization: str, one: int, other: int, prompt: int | None, batch: int
) -> None:
    variant = catalog.variant(name)
    assert variant.shape is not None
    plan = plans.plan(variant, quantization, None, fmt="onnx")
    small, large = (backend.need(plan, variant.shape, n, {}, prompt, batch) for n in sorted((one, other)))
    assert small.total_bytes <= large.total_bytes
    assert small.peak_bytes <= large.peak_bytes


def test_buffers_are_what_the_engine_shows(package: Path) -> None:
    """Two layers of one key head of 64 numbers, and a vocabulary of 416."""
    size = sum(file.stat().st_size for file in package.iterdir())
    with backend.session(job(package)) as session:
        for batch, room in ((1, 0), (3, 100), (3, 0)):
            timing.once(session, Workload(prompt_tokens=40, new_tokens=2, batch=batch, room=room))
            found = session.engine.buffers
            assert found["kv"] == 2 * 2 * 64 * 4 * ((room or 42) + 1) * batch
            assert found["logits"] == 40 * 416 * 4 * batch
        timing.once(session, Workload(prompt_tokens=0, new_tokens=2))
        assert session.engine.buffers["logits"] == 416 * 4
    if sys.platform == "linux":
        assert 0 < found["weights"] < 2 * size
        assert found["copies"] >= 0  # so narrow a model may fit into what the process had freed


def test_buffers_of_a_cache_that_grows(tmp_path: Path) -> None:
    from phibench.synth import onnx

    onnx.write(plans.plan(narrow("phi-2"), "fp16", None, fmt="onnx"), tmp_path / "fp16")
    with backend.session(job(tmp_path / "fp16")) as session:
        timing.once(session, Workload(prompt_tokens=9, new_tokens=2, room=200))
        assert session.engine.buffers["kv"] == 2 * 2 * 4 * 64 * 2 * 11
        assert session.engine.buffers["logits"] == 9 * 416 * 2


def test_buffers_on_a_device_have_its_name_and_what_nobody_tells_is_left_out() -> None:
    shown = buffers.Shown(kv_bytes_per_token=8, logits_bytes_per_token=40, all_logits=False, text="")
    nothing = buffers.Opened(mapped_bytes=None, anonymous_bytes=None)
    assert buffers.by_use(shown, nothing, "cuda:0", 10, 2, 5) == {"kv cuda:0": 160, "logits cuda:0": 80}
    assert buffers.by_use(None, buffers.Opened(7, 0), "cpu", 10, 2, 5) == {"weights": 7, "copies": 0}


WATCH = """
import sys
from pathlib import Path
from phibench.measure import timing as measure
from phibench.backends import onnxruntime
from phibench.core.nouns import Artifact, Job, Setup, Suite, Workload

def told(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key + ":"))

setup = Setup(variant="phi-4", quantization="int4", backend="onnxruntime")
suite = Suite(name="test", question="?", metrics=())
artifact = Artifact(path=sys.argv[1], bytes=0, weights="synthetic")
job = Job(setup=setup, suite=suite, workloads=(), artifact=artifact, threads=1)
prompt, context, batch = map(int, sys.argv[2:])
with onnxruntime.session(job) as session:
    session.begin(Workload(prompt_tokens=prompt, new_tokens=0, room=context, batch=batch))
    session.prefill(prompt)
    print(told("VmHWM"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_in_a_real_process_as_it_says(tmp_path: Path) -> None:
    """By 100,000 tokens of room, by sequences, and by tokens of prompt: what a small model's own size does not hide."""
    from phibench.synth import onnx

    shape = msgspec.structs.replace(shape_of("phi-4"), vocab=32_064, context=200_000)
    plan = plans.plan(msgspec.structs.replace(narrow("phi-4"), shape=shape), "int4", None, fmt="onnx")
    onnx.write(plan, tmp_path / "long")

    def real(prompt: int, context: int, batch: int) -> int:
        words = [sys.executable, "-c", WATCH, str(tmp_path / "long"), str(prompt), str(context), str(batch)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    def said(prompt: int, context: int, batch: int) -> int:
        return backend.need(plan, shape, context, {}, prompt, batch, prompt).peak_bytes

    small = (512, 2048, 1)
    before, start = real(*small), said(*small)
    for larger, rel in (((512, 102_048, 1), 0.1), ((512, 30_048, 4), 0.1), ((2048, 2048, 1), 0.25)):
        assert real(*larger) - before == pytest.approx(said(*larger) - start, rel=rel)
