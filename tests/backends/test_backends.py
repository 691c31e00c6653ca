"""One contract for every backend in the folder, on a real engine where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny
from conftest import Phibench
from engine_children import ENGINES

from phibench import backends, catalog, synth
from phibench.backends import contract, rates
from phibench.backends.llama_cpp import log
from phibench.catalog import plans
from phibench.catalog.plans import hf_config
from phibench.core import files, folders
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Artifact, Job, Need, Processor, Setup, Suite, Workload
from phibench.measure import timing
from phibench.predict import costs
from phibench.verify import distances

NAMES = backends.names()
ROOT = Path(__file__).parents[2]
GRID = (
    Workload(prompt_tokens=8, new_tokens=0),
    Workload(prompt_tokens=0, new_tokens=40),
    Workload(prompt_tokens=8, new_tokens=4),
    Workload(prompt_tokens=4, new_tokens=3, depth=16),
)


def artifact(backend: contract.Backend) -> Artifact:
    """Two layers of a narrow Phi-4-mini in the backend's own format; torch fills the weights in memory."""
    if not backend.FORMATS:
        return Artifact(path="", bytes=0, weights="synthetic")
    variant = tiny.tiny("phi-4-mini-instruct")
    made = synth.ensure(variant, backend.QUANTIZATION, backend.FORMATS[0], 2)
    if made.path:
        return made
    assert variant.shape is not None
    folder = folders.cache_dir() / "torch"
    files.write_json(folder / "config.json", hf_config.config(variant.shape, 2))
    return msgspec.structs.replace(made, path=str(folder))


def job(backend: contract.Backend, file: Artifact | None = None, device: str = "cpu", **options: str) -> Job:
    setup = Setup(variant="phi-4-mini-instruct", quantization=backend.QUANTIZATION, backend=backend.NAME,
                  device=device, options=tuple(sorted(options.items())))  # fmt: skip
    suite = Suite(name="contract", question="?", metrics=())
    return Job(setup=setup, suite=suite, workloads=GRID, artifact=file or artifact(backend), threads=1)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.engine(name) if name in ENGINES else ()) for name in NAMES]
)
def backend(request: pytest.FixtureRequest) -> contract.Backend:
    found = backends.load(request.param)
    if found.installed() is None:
        pytest.skip(f"{found.PACKAGE} is not installed")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_read_without_the_engine(name: str) -> None:
    code = (
        f"import sys; from phibench import backends; b = backends.load({name!r}); b.devices(); b.installed();"
        "heavy = {'numpy', 'torch', 'llama_cpp', 'onnxruntime', 'rich', 'http.client'} & set(sys.modules);"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    facts = backends.load(name)
    assert name == facts.NAME
    assert "threads" in facts.DEFAULTS


RECOMMENDED = [name for name in NAMES if backends.load(name).RECOMMENDABLE]
WITH_FILES = [name for name in NAMES if backends.load(name).FORMATS]


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_is_stated(name: str) -> None:
    stated = vars(importlib.import_module(f"{backends.__name__}.{name}"))
    demanded = {*contract.Backend.__annotations__, *(key for key in vars(contract.Backend) if key[0] != "_")}
    assert {key for key in demanded if key not in stated} == set()


@pytest.mark.parametrize("name", RECOMMENDED)
def test_its_rates_know_every_plan(name: str) -> None:
    backend = backends.load(name)
    assert backend.RATES is not None
    assert "float32" in backend.RATES.matrix_share  # numpy's product, which every machine has
    for slow, fast in (backend.RATES.read_share, *backend.RATES.matrix_share.values()):
        assert 0 < slow <= fast
    assert set(backend.RATES.times) == {"decode", "prefill"}
    assert rates.KV in backend.RATES.thread_gb_s
    assert len(backend.RATES.thread_gb_s) > 1
    assert min(backend.RATES.thread_gb_s.values()) > 0
    able = next(v for v in catalog.variants() if backends.objection(backend, v) is None)
    for quantization in catalog.quantizations(backend.FORMATS[0]):
        setup = Setup(variant=able.id, quantization=quantization.id, backend=name)
        step = costs.step(costs.cost_sheet(setup), 8.0)
        assert all(backend.RATES.thread_bytes_s(costs.kernel_type(kernel)) > 0 for kernel in step.bytes_by_type)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_of_every_variant_whether_it_runs_and_how_that_is_known(name: str) -> None:
    backend = backends.load(name)
    said = [found for variant in catalog.variants() if (found := backend.runs(variant)) is not None]
    assert all(found.note for found in said)
    assert not backend.RECOMMENDABLE or any(found.runs for found in said)


def test_every_format_is_opened_and_the_default_comes_first() -> None:
    for fmt in catalog.formats():
        found = [backend.NAME for backend in backends.for_format(fmt)]
        assert found
        assert found == sorted(found, key=lambda name: (name != backends.DEFAULT, name))
    assert backends.load(backends.DEFAULT).RECOMMENDABLE
    opened = [fmt for name in NAMES for fmt in backends.load(name).FORMATS]
    assert set(opened) == set(catalog.formats())


@pytest.mark.parametrize("name", WITH_FILES)
def test_its_quantizations_are_of_its_format_and_verified_within_limits(name: str) -> None:
    backend = backends.load(name)
    known = {q.id for q in catalog.quantizations(backend.FORMATS[0])}
    assert backend.QUANTIZATION in known
    assert backend.VERIFIED
    assert set(backend.VERIFIED) <= known
    limited = {quantization for _, fmt, quantization in distances.limits() if fmt == backend.FORMATS[0]}
    assert set(backend.VERIFIED) <= limited
    assert backend.LONGROPE in ("by_context", "by_length")
    assert callable(importlib.import_module(f"{backends.__name__}.{name}.faults").lose_a_position)


@pytest.mark.parametrize("name", WITH_FILES)
def test_its_engine_can_be_installed_and_asked(name: str) -> None:
    backend = backends.load(name)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert backend.EXTRA in extras
    assert backend.EXTRA in backends.install_line(backend)
    assert backend.PACKAGE in backend.PACKAGES
    assert backend.ENGINE is not None
    with pytest.raises(msgspec.DecodeError):
        backend.abilities(b"it broke")
    if importlib.util.find_spec(backend.ENGINE.module) is None:
        pytest.skip("not installed")
    done = subprocess.run([sys.executable, "-P", "-c", backend.ENGINE.question], capture_output=True, check=True)
    assert "cpu" in backend.abilities(done.stdout.splitlines()[-1]).devices


@pytest.mark.parametrize("name", NAMES)
def test_of_a_processor_that_nobody_knows_it_says_nothing(name: str) -> None:
    backend = backends.load(name)
    assert backend.advice(Processor(), ()) is None
    assert backend.build_note(Processor(), ()) == ""
    assert isinstance(backend.gpu_build("cuda"), str)


@pytest.mark.parametrize("command", ["run", "quickstart"])
def test_the_help_names_the_default(phibench: Phibench, command: str) -> None:
    """It is written out there: to import the backends would make every --help slow."""
    assert f"[default: {backends.DEFAULT}" in " ".join(phibench(command, "--help").out.split())


def test_no_alias_is_the_name_of_another() -> None:
    for name in NAMES:
        for alias in backends.load(name).ALIASES:
            assert alias == alias.lower()
            assert alias not in NAMES
            assert name == backends.load(alias).NAME


def test_an_installed_backend_has_a_device_and_a_version(backend: contract.Backend) -> None:
    assert "cpu" in backend.devices()
    assert backend.installed()


@pytest.mark.parametrize("workload", GRID, ids=str)
def test_every_step_gives_a_token_and_none_stops_early(backend: contract.Backend, workload: Workload) -> None:
    with backend.session(job(backend)) as session:
        for _ in range(2):  # a second repetition starts from nothing again
            sample = timing.once(session, workload)
            assert len(sample.arrivals_s) == max(1, workload.new_tokens)
            assert (sample.sampling_s is None) == (backend.NAME == "onnxruntime")  # it chooses inside its step
            assert 0 <= (sample.sampling_s or 0) <= sample.arrivals_s[-1]
        assert session.engine.name == backend.NAME
        assert session.engine.version == backend.installed()
        assert session.engine.placement
        assert session.engine.evidence or not backend.FORMATS


def test_what_is_scored_is_what_is_timed(backend: contract.Backend) -> None:
    """Logits after a prompt do not depend on how it was cut: one prefill, or a shorter one and then steps."""
    if not backend.FORMATS:
        pytest.skip("computes nothing")
    words = [3, 1, 4, 1, 5, 9, 2, 6]
    with backend.session(job(backend)) as session:
        whole = session.score(words, [])
        cut = session.score(words[:4], words[4:])
        again = session.score(words, [7])
    assert whole.shape == (1, 1024)
    assert cut.shape == (5, 1024)
    assert whole.dtype == np.float32
    scale = float(np.abs(whole).max())
    assert np.abs(whole[0] - cut[-1]).max() < 0.05 * scale  # sums in another order, activations rounded apart
    np.testing.assert_array_equal(whole[0], again[0])


def test_memory_grows_with_context_and_never_with_a_slice(backend: contract.Backend) -> None:
    variant = catalog.variant("phi-4-mini-instruct")
    assert variant.shape is not None

    def need(context: int, layers: int | None = None) -> Need:
        assert variant.shape is not None
        fmt = (*backend.FORMATS, "gguf")[0]
        return backend.need(plans.plan(variant, backend.QUANTIZATION, layers, fmt=fmt), variant.shape, context, {})

    totals = [need(context).total_bytes for context in (128, 4096, 32768, 131072)]
    assert totals == sorted(totals)
    assert need(4096, 8).total_bytes <= need(4096).total_bytes


@pytest.fixture
def llama() -> contract.Backend:
    return backends.require("llama_cpp")


@pytest.mark.engine("llama_cpp")
def test_llama_cpp_proves_where_it_ran_and_with_what(llama: contract.Backend) -> None:
    with llama.session(job(llama, n_ubatch="64", type_k="q8_0")) as session:
        timing.once(session, GRID[0])
        engine = session.engine
    assert engine.placement.startswith("no layers on GPU; model ")
    assert "; KV " in engine.placement
    assert not [use for use in engine.buffers if " " in use]  # all of it in host memory
    assert engine.options["n_ubatch"] == "64"
    assert engine.options["type_k"] == "q8_0"
    assert engine.options["flash_attn"] == "on"  # auto, resolved by the engine
    assert engine.options["n_threads"] == "1"
    assert engine.details["system_info"]


@pytest.mark.engine("llama_cpp")
def test_llama_cpp_fills_the_depth_and_forgets_the_last_repetition(llama: contract.Backend) -> None:
    workload = GRID[3]
    with llama.session(job(llama)) as session:
        for _ in range(3):
            timing.once(session, workload)
            memory = session._api.llama_get_memory(session._context)  # type: ignore[attr-defined]
            last = session._api.llama_memory_seq_pos_max(memory, 0)  # type: ignore[attr-defined]
            assert last + 1 == workload.depth + workload.prompt_tokens + workload.new_tokens - 1


@pytest.mark.engine("llama_cpp")
def test_llama_cpp_has_filled_the_depth_before_the_clock_starts(
    llama: contract.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a decode returns before it is done; here the order of calls."""
    done: list[str] = []
    with llama.session(job(llama)) as session:
        api = session._api  # type: ignore[attr-defined]
        monkeypatch.setattr(api, "llama_decode", lambda *_: done.append("llama_decode"))
        monkeypatch.setattr(api, "llama_synchronize", lambda *_: done.append("llama_synchronize"))
        session.begin(GRID[3])
    assert done == ["llama_decode", "llama_synchronize"]


@pytest.mark.engine("llama_cpp")
def test_a_device_that_the_build_lacks_is_refused_not_replaced(llama: contract.Backend) -> None:
    if "cuda:0" in llama.devices():
        pytest.skip("this build has CUDA")
    with (
        pytest.raises(PhibenchError, match=r"asked for cuda:0, but llama\.cpp put the model on "),
        llama.session(job(llama, device="cuda:0")),
    ):
        pass


@pytest.mark.engine("llama_cpp")
def test_a_file_that_llama_cpp_refuses_is_one_clear_error(llama: contract.Backend, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    file = Artifact(path=str(broken), bytes=104, weights="real")
    with pytest.raises(PhibenchError, match=r"cannot open broken\.gguf"), llama.session(job(llama, file)):
        pass


def test_an_unknown_backend_and_an_unknown_option_name_the_nearest() -> None:
    with pytest.raises(PhibenchError, match="did you mean 'llama_cpp'"):
        backends.load("lama_cpp")
    with pytest.raises(PhibenchError, match="did you mean 'n_ubatch'"):
        backends.check_options(Setup(variant="v", quantization="q", backend="llama_cpp", options=(("n_ubach", "1"),)))
    assert backends.load("llama.cpp").NAME == "llama_cpp"


def test_the_log_of_a_gpu_build_is_read() -> None:
    said = (
        "load_tensors: offloaded 33/33 layers to GPU\n"
        "load_tensors:   CPU_Mapped model buffer size =   480.81 MiB\n"
        "load_tensors:        CUDA0 model buffer size =  2370.00 MiB\n"
        "llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB\n"
    )
    assert log.placement(said) == (
        "33/33 layers on GPU; model CPU_Mapped 481 MiB; model CUDA0 2370 MiB; KV CUDA0 64 MiB"
    )
