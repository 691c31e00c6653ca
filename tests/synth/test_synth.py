from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import NAMES, tiny

from phibench import catalog
from phibench.catalog import plans
from phibench.catalog.plans import gguf as plan_gguf
from phibench.catalog.readers import gguf as reader
from phibench.core import extras
from phibench.core.errors import PhibenchError
from phibench.synth import cache, fill, gguf, quantizer

pytestmark = pytest.mark.engine("llama_cpp")
MIXES = ("F16", "Q5_K_M", "Q4_0", "IQ3_M", "Q2_K")
# phi-2 has no fallbacks and no ties, the others one trait each: tied, wide groups, experts, ragged experts
LOADED = [(name, "Q4_K_M") for name in NAMES] + [("phi-4", "BF16"), ("phi-4-mini-instruct", "IQ3_XXS")]


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that sees the test's cache and the tiny variants."""
    head = "import sys\nfrom pathlib import Path\nfrom tiny import tiny\n"
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1]))
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip


def tensors_of(path: Path) -> dict[str, bytes]:
    """Name -> data of every tensor, by the offsets in the file."""
    header, content = reader.read_header(path), path.read_bytes()
    found, at = {}, header.data_offset
    for tensor in header.tensors:
        found[tensor.name] = content[at : at + tensor.bytes]
        at += -(-tensor.bytes // 32) * 32
    assert at == len(content)
    return found


@pytest.mark.parametrize("quantization", MIXES)
@pytest.mark.parametrize("name", NAMES)
def test_no_two_tensors_are_alike_and_none_is_zero(tmp_path: Path, name: str, quantization: str) -> None:
    plan = plans.plan(tiny(name), quantization, layers=3, fmt="gguf")
    gguf.write(plan, tmp_path / "tiny.gguf")
    data = tensors_of(tmp_path / "tiny.gguf")
    assert list(data) == [tensor.name for tensor in plan.tensors]
    hashes = {hashlib.sha256(content).digest() for content in data.values()}
    assert len(hashes) == len(plan.tensors)
    assert all(content.count(0) < len(content) / 4 for content in data.values())
    assert reader.read_header(tmp_path / "tiny.gguf").tensors == plan.tensors


def test_no_two_experts_are_alike(tmp_path: Path) -> None:
    plan = plans.plan(tiny("phi-3.5-moe-instruct"), "Q4_K_M", layers=1, fmt="gguf")
    gguf.write(plan, tmp_path / "tiny.gguf")
    data = tensors_of(tmp_path / "tiny.gguf")
    for tensor in plan.tensors:
        if "_exps" in tensor.name or "gate_inp" in tensor.name:  # the router has one row per expert
            content, size = data[tensor.name], tensor.bytes // 16
            assert len({content[i : i + size] for i in range(0, len(content), size)}) == 16


@pytest.mark.parametrize(("name", "quantization"), LOADED)
def test_llama_cpp_loads_and_decodes_it(tmp_path: Path, name: str, quantization: str) -> None:
    gguf.write(plans.plan(tiny(name), quantization, layers=2, fmt="gguf"), tmp_path / "tiny.gguf")
    done = child(
        """
        import ctypes, numpy as np, llama_cpp.llama_cpp as api
        keep = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(keep, ctypes.c_void_p(0))
        model = api.llama_model_load_from_file(sys.argv[1].encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_threads = 256, 1
        context = api.llama_init_from_model(model, params)
        words = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        for ids in ([5, 700, 31, 8], [9]):
            batch = api.llama_batch_get_one((api.llama_token * len(ids))(*ids), len(ids))
            assert api.llama_decode(context, batch) == 0
            logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, -1), (words,))
            assert np.isfinite(logits).all() and 0.01 < logits.std() < 10_000, logits
        print(words, api.llama_model_n_params(model))
        """,
        str(tmp_path / "tiny.gguf"),
    )
    assert done.returncode == 0, done.stderr
    rope = sum(np.prod(t.shape) for t in plans.plan(tiny(name), "F16", 2, fmt="gguf").tensors if "rope_" in t.name)
    assert done.stdout.split() == ["1024", str(plans.plan(tiny(name), "F16", 2, fmt="gguf").parameters + rope)]


def test_a_prompt_uses_at_least_14_of_16_experts_in_every_layer(tmp_path: Path) -> None:
    """The last layer computes one token only, so it uses two."""
    gguf.write(plans.plan(tiny("phi-3.5-moe-instruct"), "Q4_K_M", layers=16, fmt="gguf"), tmp_path / "tiny.gguf")
    done = child(
        """
        import ctypes, random, numpy as np, llama_cpp.llama_cpp as api
        from phibench.synth import quantizer as engine
        ggml = engine.ggml_base()
        ggml.ggml_get_name.restype = ctypes.c_char_p
        ggml.ggml_get_name.argtypes = ggml.ggml_nbytes.argtypes = [ctypes.c_void_p]
        ggml.ggml_nbytes.restype = ctypes.c_size_t
        ggml.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        used = []
        def look(tensor, ask, _):
            wanted = ggml.ggml_get_name(tensor).startswith(b"ffn_moe_argsort")
            if wanted and not ask:
                order = np.empty(ggml.ggml_nbytes(tensor) // 4, np.int32)
                ggml.ggml_backend_tensor_get(tensor, order.ctypes.data, 0, order.nbytes)
                used.append(len(np.unique(order.reshape(-1, 16)[:, :2])))
            return wanted or not ask
        keep = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(keep, ctypes.c_void_p(0))
        model = api.llama_model_load_from_file(sys.argv[1].encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.cb_eval = callback = api.ggml_backend_sched_eval_callback(look)
        context = api.llama_init_from_model(model, params)
        ids = (api.llama_token * 512)(*(random.Random(0).sample(range(1024), 512)))
        assert api.llama_decode(context, api.llama_batch_get_one(ids, 512)) == 0
        print(*used)
        """,
        str(tmp_path / "tiny.gguf"),
    )
    assert done.returncode == 0, done.stderr
    used = [int(word) for word in done.stdout.split()]
    assert len(used) == 16
    assert min(used[:-1]) >= 14, used


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("phi-4", "Q5_K_M"), ("phi-2", "Q3_K_M"), ("phi-mini-moe-instruct", "Q4_K_M"), ("phi-4-mini-instruct", "Q4_K_S")],
)
def test_the_quantizer_gives_real_weights_the_planned_types(tmp_path: Path, name: str, quantization: str) -> None:
    """Not the dry run that wrote the table: an F16 file of all layers (of zeros, which are quick) is quantized."""
    gguf.header_only(plans.plan(tiny(name), "F16", fmt="gguf"), tmp_path / "f16.gguf")
    done = child(
        """
        import ctypes, llama_cpp.llama_cpp as api
        keep = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(keep, ctypes.c_void_p(0))
        params = api.llama_model_quantize_default_params()
        params.ftype, params.nthread = int(sys.argv[3]), 1
        sys.exit(api.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), params))
        """,
        str(tmp_path / "f16.gguf"),
        str(tmp_path / "out.gguf"),
        str(plan_gguf.types().quantizations[quantization].ftype),
    )
    assert done.returncode == 0, done.stderr
    assert reader.read_header(tmp_path / "out.gguf").tensors == plans.plan(tiny(name), quantization, fmt="gguf").tensors


@pytest.mark.parametrize("filling", fill.FILLINGS)
def test_fillings_have_one_scale_and_no_zeros(tmp_path: Path, filling: str) -> None:
    plan = plans.plan(tiny("phi-4"), "F16", layers=1, fmt="gguf")
    gguf.write(plan, tmp_path / "tiny.gguf", filling)
    data = tensors_of(tmp_path / "tiny.gguf")
    weights = np.frombuffer(data["blk.0.ffn_up.weight"], np.float16).astype(np.float64)
    assert np.isfinite(weights).all()
    assert (weights == 0).mean() < 0.001
    assert abs(weights.mean()) < 0.001
    assert weights.std() == pytest.approx(0.02, rel=0.15)
    norm = np.frombuffer(data["blk.0.attn_norm.weight"], np.float32)
    assert abs(norm.mean() - 1) < 0.01
    kurtosis = ((weights / weights.std()) ** 4).mean()
    expected: dict[str, Callable[[float], bool]] = {
        "gaussian": lambda k: abs(k - 3) < 0.3, "uniform": lambda k: k < 2, "heavy-tailed": lambda k: k > 6,
    }  # fmt: skip
    assert expected[filling](kurtosis)


def test_an_unknown_filling_is_named() -> None:
    with pytest.raises(PhibenchError, match="did you mean 'gaussian'"):
        fill.Filler("gausian")


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    plan = plans.plan(tiny("phi-4"), "Q4_K_M", layers=2, fmt="gguf")
    for name in ("one", "two"):
        gguf.write(plan, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_size == plan.file_bytes


def test_header_only_has_the_head_and_the_length(tmp_path: Path) -> None:
    plan = plans.plan(tiny("phi-2"), "Q4_K_M", layers=2, fmt="gguf")
    gguf.header_only(plan, tmp_path / "head.gguf")
    assert (tmp_path / "head.gguf").stat().st_size == plan.file_bytes
    assert reader.read_header(tmp_path / "head.gguf").tensors == plan.tensors


@pytest.mark.skipif(sys.platform == "win32", reason="resource is POSIX")
def test_memory_stays_below_300_mb() -> None:
    """All 9 GB of Phi-4 pass through a stream that forgets them."""
    done = child(
        """
        import io, resource
        from phibench import catalog
        from phibench.catalog.plans import plan
        from phibench.synth import fill, gguf

        class Forget(io.RawIOBase):
            def write(self, piece): return len(piece)

        told = []
        wanted = plan(catalog.variant("phi-4"), "Q4_K_M", fmt="gguf")
        gguf.pour(wanted, fill.Filler(), Forget(), lambda *state: told.append(state))
        assert told[-1][0] == told[-1][1] > 9e9 and told == sorted(told)
        status = Path("/proc/self/status")
        if status.exists():  # ru_maxrss would start at the size of the parent that forked us; VmHWM does not
            print(int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 300e6


def test_progress_ends_at_the_size_of_the_file() -> None:
    plan, told = plans.plan(tiny("phi-4"), "Q4_0", layers=1, fmt="gguf"), []
    stream = io.BytesIO()
    gguf.pour(plan, fill.Filler(), stream, lambda done, total: told.append((done, total)))
    assert told[-1] == (plan.file_bytes, plan.file_bytes)
    assert len(stream.getvalue()) == plan.file_bytes


# ------------------------------------------------------------------------------------------- the cached file


def test_ensure_writes_once_and_finds_it_again() -> None:
    variant = tiny("phi-4")
    assert gguf.cached(variant, "Q4_K_M", 2) is None
    told: list[tuple[int, int]] = []
    first = gguf.ensure(variant, "Q4_K_M", 2, lambda done, total: told.append((done, total)))
    assert told[-1] == (first.bytes, first.bytes)
    assert gguf.cached(variant, "Q4_K_M", 2) == Path(first.path)
    assert Path(first.path).stat().st_size == first.bytes
    assert (first.weights, first.layers, first.tensor_types) == (
        "synthetic",
        2,
        plans.plan(variant, "Q4_K_M", 2, fmt="gguf").histogram,
    )
    told.clear()
    assert gguf.ensure(variant, "Q4_K_M", 2, lambda done, total: told.append((done, total))) == first
    assert told == []
    assert gguf.ensure(variant, "Q4_K_M", 3).path != first.path


def test_a_cut_cached_file_is_written_anew() -> None:
    artifact = gguf.ensure(tiny("phi-4"), "Q4_0", 1)
    path = Path(artifact.path)
    whole = path.read_bytes()
    os.truncate(path, 1000)
    assert gguf.cached(tiny("phi-4"), "Q4_0", 1) is None
    assert gguf.ensure(tiny("phi-4"), "Q4_0", 1) == artifact
    assert path.read_bytes() == whole


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gguf.ensure(tiny("phi-4"), "Q4_0", 1, interrupt)
    assert [p.name for p in cache.folder().iterdir()] == [".lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_a_disk_that_fills_up_leaves_nothing() -> None:
    """The system refuses to let any file grow past 200 kB: the same error path as a full disk."""
    done = child(
        """
        import resource
        from phibench.core.errors import PhibenchError
        from phibench.synth import cache, gguf
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            gguf.ensure(tiny("phi-4"), "Q4_0", 1)
        except PhibenchError as error:
            print(error.exit_code, [p.name for p in cache.folder().iterdir()], error)
        """
    )
    assert done.stdout.startswith("1 ['.lock'] cannot write"), done
    assert "; the file needs " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_what_a_killed_process_left_is_cleaned(tmp_path: Path) -> None:
    done = child(
        """
        import os, signal
        from phibench.synth import gguf
        gguf.ensure(tiny("phi-4"), "Q4_0", 1, lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
        """
    )
    assert done.returncode == -signal.SIGKILL
    assert [p.suffix for p in cache.folder().iterdir() if p.name != ".lock"] == [".part"]
    gguf.ensure(tiny("phi-4"), "Q8_0", 1)
    assert sorted(p.suffix for p in cache.folder().iterdir() if p.name != ".lock") == [".gguf"]


def test_two_processes_want_the_same_file() -> None:
    """Both get it, one writes it: the other hears how far the first has come."""
    code = """
        from phibench.synth import gguf
        told = []
        artifact = gguf.ensure(tiny("phi-4", 40960), "F16", 8, lambda *state: told.append(state))
        print(Path(artifact.path).stat().st_size == artifact.bytes)
        """
    head = "import sys\nfrom pathlib import Path\nfrom tiny import tiny\n" + textwrap.dedent(code)
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1]))
    both = [
        subprocess.Popen([sys.executable, "-c", head], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in both] == ["True\n", "True\n"]
    assert len(cache.entries()) == 1


def test_without_the_engine_the_remedy_is_said() -> None:
    done = child(
        """
        sys.modules["llama_cpp"] = None
        from phibench.core.errors import PhibenchError
        from phibench.synth import quantizer as engine; from phibench.synth import gguf
        for call in (lambda: gguf.ensure(tiny("phi-4"), "Q4_0", 1), engine.llama_cpp):
            try:
                call()
            except PhibenchError as error:
                print(error.exit_code, error)
        """
    )
    line = f"1 llama-cpp-python is not installed: {extras.line('llama-cpp')}\n"
    assert done.stdout == line * 2, done


def test_too_little_disk_is_said_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("Usage", (), {"free": 10**6}))
    with pytest.raises(PhibenchError, match=r"needs 9\.06 GB in .*, 1 MB are free") as error:
        gguf.write(plans.plan(catalog.variant("phi-4"), "Q4_K_M", fmt="gguf"), tmp_path / "no" / "file.gguf")
    assert error.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_types_that_no_weights_have_are_refused() -> None:
    with pytest.raises(PhibenchError, match="type I32"):  # ggml would abort the process
        quantizer.quantize("I32", np.ones(32, np.float32))


def test_quantize_is_ggmls_own() -> None:
    """Q8_0 by hand: the scale is the largest magnitude over 127, in half precision."""
    values = np.linspace(-1, 1, 32, dtype=np.float32)
    block = quantizer.quantize("Q8_0", values)
    scale = np.frombuffer(block[:2], np.float16)[0]
    assert scale == pytest.approx(1 / 127, rel=1e-3)
    np.testing.assert_allclose(np.frombuffer(block[2:], np.int8) * float(scale), values, atol=0.005)
