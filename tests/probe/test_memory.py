"""What a process takes of memory, by what must stay and what may go; predictions beside it; the longest context."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from conftest import Phibench
from fake_nvml import RTX, Nvml, NvmlError
from fakes import GIB, SETUP, machine, measured, records, run, workload
from hypothesis import given
from hypothesis import strategies as st
from trees import plant

from phibench import backends, catalog
from phibench.analysis.max_context import STEP, max_context
from phibench.backends import llama_cpp
from phibench.catalog import plans
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Measured, Need, Suite, Warmup
from phibench.measure import memory_check
from phibench.meters import memory
from phibench.predict import run_time
from phibench.predict.speed import Knowledge
from phibench.probe.devices import gpu_use
from phibench.probe.system import process, smaps
from phibench.show import models, rows
from phibench.show.results import table

MIB = 1 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def mapping(path: str, device: str = "fe:00", inode: int = 7, **kib: int) -> str:
    fields = "".join(f"{name}: {count:10d} kB\n" for name, count in {"Size": 9999, **kib}.items())
    return f"7f0000000000-7f0000100000 r--p 00000000 {device} {inode}     {path}\n{fields}VmFlags: rd mr\n"


def tree(tmp_path: Path, *mappings: str, status: str = "", mounts: str = "") -> Path:
    return plant(
        tmp_path, {"proc/self/smaps": "".join(mappings), "proc/self/status": status, "proc/self/mountinfo": mounts}
    )


# --------------------------------------------------------------------------------------------------- pages


def test_pages_of_files_by_whose_they_are(tmp_path: Path) -> None:
    model = tmp_path / "model"
    root = tree(
        tmp_path,
        mapping(f"{model}/a.bin", Rss=1000, Referenced=400, Anonymous=0),
        mapping(f"{model}/b.bin (deleted)", Rss=100, Referenced=100, Anonymous=0),
        mapping(f"{model}-other/c.bin", Rss=10, Referenced=10, Anonymous=0),  # a name that only begins alike
        mapping("/usr/lib/libc.so", Rss=50, Referenced=50, Anonymous=20),  # its data, written: no page of the file
        mapping("[heap]", "00:00", 0, Rss=5000, Referenced=5000, Anonymous=5000),
        mapping("", "00:00", 0, Rss=6000, Referenced=6000, Anonymous=6000),
    )
    found = smaps.file_pages(model, root)
    assert found is not None
    assert (found.artifact, found.artifact_touched) == (1100 << 10, 500 << 10)
    assert (found.libraries, found.libraries_touched) == (40 << 10, 40 << 10)


def test_a_model_of_one_file_that_was_replaced_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    found = smaps.file_pages(file, tree(tmp_path, mapping(f"{file} (deleted)", Rss=8, Referenced=4)))
    assert found is not None
    assert (found.artifact, found.artifact_touched, found.libraries) == (8 << 10, 4 << 10, 0)


def test_shared_memory_is_no_file(tmp_path: Path) -> None:
    """A model in /dev/shm cannot be dropped: RssShmem has it already."""
    root = tree(
        tmp_path,
        mapping("/memfd:x (deleted)", "00:01", Rss=10, Referenced=10),
        mapping("/dev/zero (deleted)", "00:01", Rss=10, Referenced=10),
        mapping("/dev/shm/model.gguf", "00:1a", Rss=10, Referenced=10),
        mounts="30 20 0:26 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw\n31 20 254:0 / / rw - ext4 /dev/vda rw\n",
        status="RssAnon:\t 100 kB\nRssShmem:\t 30 kB\nVmSwap:\t 7 kB\nVmRSS:\t 150 kB\n",
    )
    assert smaps.file_pages(Path("/dev/shm/model.gguf"), root) == smaps.FilePages(
        artifact=0, artifact_touched=0, libraries=0, libraries_touched=0
    )
    assert smaps.anonymous(root=root) == smaps.Anonymous(bytes=137 << 10, swapped=7 << 10, resident_bytes=150 << 10)


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/self/status": "VmRSS:\t 150 kB\n"})
    assert smaps.anonymous(root=root) is None
    assert smaps.file_pages(None, root) is None
    assert not smaps.forget(tmp_path / "nowhere")


@LINUX
def test_only_what_is_used_again_counts_as_touched(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(32 * MIB))
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as block:
        assert sum(block[:: mmap.PAGESIZE])  # all of it is mapped
        assert smaps.forget()
        assert sum(block[8 * MIB : 16 * MIB : mmap.PAGESIZE])
        found = smaps.file_pages(file)
    assert found is not None
    assert found.artifact == 32 * MIB
    assert 8 * MIB <= found.artifact_touched < 10 * MIB


# --------------------------------------------------------------------------------------------------- the meter


@LINUX
def test_memory_is_watched_while_python_is_locked(tmp_path: Path) -> None:
    """Anonymous memory that comes and goes within one call that keeps the lock, and a file of which half is used."""
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(16 * MIB))
    code = f"""
import ctypes, mmap, pathlib, sys
from phibench.meters import memory
import os
libc = ctypes.PyDLL(None)  # PyDLL: Python's lock stays with the call
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
path = pathlib.Path({str(file)!r})
with memory.watching(os.getpid(), "cpu") as highest, path.open("rb") as stream:
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as block:
        meter = memory.Meter(path, "cpu", highest)
        before = highest().anonymous
        sum(block[:: mmap.PAGESIZE])
        place = libc.malloc(200 << 20)
        libc.memset(place, 1, 200 << 20)
        libc.usleep(300_000)
        libc.free(place)
        seen = meter.finish(lambda: sum(block[: 8 << 20 : mmap.PAGESIZE]))
import json
print(json.dumps([before, seen.readings, seen.memory, seen.notes]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, readings, kinds, notes = json.loads(done.stdout)
    assert 195 * MIB < kinds["anonymous"] - before < 230 * MIB
    assert kinds["artifact"] == 16 * MIB
    assert 8 * MIB <= kinds["artifact_touched"] < 10 * MIB
    parts = ("anonymous", "artifact_touched", "libraries_touched")
    assert readings.pop("host_peak_bytes") > kinds["anonymous"]
    assert readings == {"host_needed_bytes": sum(kinds[name] for name in parts)}
    assert notes == []


def test_what_cannot_be_told_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smaps, "forget", lambda: False)
    again: list[int] = []
    seen = memory.Meter(None, "rocm:0", lambda: memory.Highest(anonymous=5 * MIB)).finish(lambda: again.append(1))
    assert "host_needed_bytes" not in seen.readings
    assert "artifact_touched" not in seen.memory
    assert not again  # a test is not run again for nothing
    assert len(seen.notes) == 2
    assert "rocm:0" in seen.notes[1]


def test_device_memory_is_what_was_most() -> None:
    seen = memory.Meter(None, "cuda:0", lambda: memory.Highest(anonymous=MIB, device=2 * GIB)).finish(lambda: None)
    assert seen.readings["device_peak_bytes"] == 2 * GIB
    assert not any("device" in note for note in seen.notes)


def test_a_peak_between_two_looks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "peak_bytes", lambda: 3 * GIB)
    seen = memory.Meter(None, "cpu", lambda: memory.Highest(anonymous=GIB, resident=2 * GIB)).finish(lambda: None)
    assert any("1 GiB above every sample" in note for note in seen.notes)


@LINUX
def test_the_one_that_looks_leaves_with_its_question(tmp_path: Path) -> None:
    others = set(_children())
    with memory.watching(os.getpid(), "cpu") as highest:
        assert (highest().anonymous or 0) > MIB
        assert highest().device is None
        children = set(_children()) - others
        assert children
    end = time.monotonic() + 5
    while children & set(_children()) and time.monotonic() < end:
        time.sleep(0.005)
    assert not children & set(_children())


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()


@given(st.lists(st.tuples(st.none() | st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_the_highest_is_the_highest_of_all_that_were_told(looks: list[tuple[int | None, int | None]]) -> None:
    highest = memory.Highest()
    for count, device in looks:
        now = None if count is None else smaps.Anonymous(bytes=count, swapped=0, resident_bytes=2 * count)
        highest = highest.with_look(now, device)
    told = [count for count, _ in looks if count is not None]
    assert highest.anonymous == max(told, default=None)
    assert highest.resident == (2 * max(told) if told else None)
    assert highest.device == max((device for _, device in looks if device is not None), default=None)


# --------------------------------------------------------------------------------------------------- GPUs


def _process(pid: int, count: Any) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=count)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([_process(1, 9 * GIB), _process(77, 2 * GIB)], 2 * GIB),
        ([_process(1, 9 * GIB)], 3 * GIB),  # a container's numbers are not ours: what was taken since
        ([_process(77, None)], 3 * GIB),  # Windows does not say
        ([_process(77, 2**64 - 1)], 3 * GIB),  # NVML_VALUE_NOT_AVAILABLE
        (NvmlError("Not Supported"), 3 * GIB),
    ],
)
def test_bytes_on_a_gpu(processes: Any, expected: int) -> None:
    card = {**RTX, "nvmlDeviceGetComputeRunningProcesses": processes}
    nvml = Nvml(card)
    with gpu_use.taken("cuda:0", 77, nvml) as read:
        card["nvmlDeviceGetMemoryInfo"] = SimpleNamespace(total=24 * GIB, free=17 * GIB, used=7 * GIB)
        assert read() == expected


def test_no_gpu_no_bytes() -> None:
    for device in ("cpu", "rocm:0", "cuda:5"):
        with gpu_use.taken(device, 77, Nvml(RTX)) as read:
            assert read() is None


# --------------------------------------------------------------------------------------------------- predicted


@given(
    weights=st.integers(0, 100), per_token=st.integers(1, 50), jump=st.integers(0, 10**6), at=st.integers(1, 200_000),
    most=st.integers(1, 200_000), free=st.integers(0, 10**7),
)  # fmt: skip
def test_the_longest_context_is_the_longest(
    weights: int, per_token: int, jump: int, at: int, most: int, free: int
) -> None:
    """Memory that grows with the context, jumps included: that one fits, a step more does not."""

    def occupied(tokens: int) -> int:
        return weights + per_token * tokens + (jump if tokens >= at else 0)

    found = max_context(occupied, most, free)
    assert 0 <= found <= most
    assert found == most or found % STEP == 0
    if found:
        assert occupied(found) <= free
    if found < most:
        assert occupied(min(found + STEP, most)) > free


@pytest.mark.parametrize(
    ("name", "quantization"), [("llama_cpp", "Q4_K_M"), ("onnxruntime", "int4"), ("torch", "bf16")]
)
@given(context=st.integers(600, 100_000), more=st.integers(0, 5000), batch=st.integers(1, 8))
def test_need_never_falls_with_the_context(name: str, quantization: str, context: int, more: int, batch: int) -> None:
    backend, variant = backends.load(name), catalog.variant("phi-4-mini-instruct")
    assert variant.shape is not None
    plan = plans.plan(variant, quantization, fmt=backend.FORMATS[0])
    less, greater = (
        backend.need(plan, variant.shape, tokens, {}, 512, batch).total_bytes for tokens in (context, context + more)
    )
    assert less <= greater


NEED = Need(weights_bytes=2 * GIB, kv_bytes=GIB, compute_bytes=0, runtime_bytes=0, because="", reclaimable_bytes=GIB)


def _seen(needed: float) -> Measured:
    result = measured(workload(512, 16), (0.1,))
    readings = {"host_peak_bytes": 5.0 * GIB, "host_needed_bytes": needed}
    kinds = {"anonymous": 2 * GIB}
    engine = msgspec.structs.replace(result.engine, buffers={"weights": 2 * GIB, "kv": GIB})
    return msgspec.structs.replace(result, readings=readings, memory=kinds, engine=engine, predicted=NEED)


def test_what_a_test_took_above_its_prediction_shortens_the_longest_context() -> None:
    plan = plans.plan(catalog.variant(SETUP.variant), "Q4_K_M", fmt="gguf")
    found = []
    for more in (-GIB, 0, GIB):
        result = _seen(NEED.total_bytes + more)
        found.append(memory_check.with_prediction(result, NEED, plan, 8 * GIB).readings["max_context_tokens"])
    assert found[0] > found[1] > found[2] > 0
    free = memory_check.largest_context(SETUP, plan, workload(512, 16), 7 * GIB)
    assert found[2] == free


def test_a_context_is_not_reckoned_for_who_did_not_ask_or_for_a_gpu() -> None:
    plan = plans.plan(catalog.variant(SETUP.variant), "Q4_K_M", fmt="gguf")
    result = measured(workload(512, 16), (0.1,))
    gpu = msgspec.structs.replace(result, setup=msgspec.structs.replace(SETUP, device="cuda:0"))
    for found in (
        memory_check.with_prediction(result, NEED, plan, None),
        memory_check.with_prediction(gpu, NEED, plan, GIB),
    ):
        assert found.readings == {}
        assert found.predicted == NEED


METRICS = ("host_peak_bytes", "host_needed_bytes", "max_context_tokens")


def test_rows_never_mix_predicted_with_measured() -> None:
    (row,) = records(run(_seen(3.3 * GIB), metrics=METRICS, name="memory"))
    assert row["predicted"]["needed_bytes"] == 3 * GIB
    assert row["predicted"]["peak_bytes"] == 4 * GIB
    assert (row["host_peak_bytes"], row["host_needed_bytes"]) == (5 * GIB, 3.3 * GIB)


@pytest.mark.parametrize("width", [80, 120])
def test_people_see_both_and_by_how_much(width: int) -> None:
    text = table(rows.rows([run(_seen(3.3 * GIB), metrics=METRICS, name="memory")]), width)
    assert "5.00 (+25.0%)" in text
    assert "3.30 (+10.0%)" in text
    assert max(map(len, text.splitlines())) <= width
    if width == 120:
        assert "KV" in text


def test_models_reckon_as_run_does() -> None:
    variant = catalog.variant("phi-4-mini-instruct")
    assert variant.shape is not None
    found = models.model_rows([variant], 8192)
    assert all((row["needed_bytes"] is None) == (row["weights_bytes"] is None) for row in found)
    for row in found:
        if row["needed_bytes"] is not None:
            plan = plans.plan(variant, row["quantization"], fmt=row["format"])
            backend = backends.for_format(row["format"])[0]
            assert row["needed_bytes"] == backend.need(plan, variant.shape, 8192, {}, 512).total_bytes
    phi2 = models.model_rows([catalog.variant("phi-2")], 8192)
    assert all(row["needed_bytes"] is None for row in phi2)  # its context ends at 2048


def test_looking_at_pages_takes_the_time_of_one_repetition_more() -> None:
    place = machine()
    place = msgspec.structs.replace(
        place, devices=(msgspec.structs.replace(place.devices[0], read_bytes_s=41e9, basis="probed"),)
    )

    def seconds(metric: str) -> float:
        suite = Suite(
            name="x", question="?", metrics=(metric,), new_tokens=(16,), repetitions=1, warmup=Warmup(max_windows=0)
        )
        found = run_time.estimate_s(SETUP, suite, suite.workloads(), None, Knowledge(place))
        assert found is not None
        return found.value

    assert seconds("host_needed_bytes") == pytest.approx(2 * seconds("host_peak_bytes"))


@pytest.mark.parametrize(
    ("kv", "note"),
    [
        (64 * MIB, "the engine allocated what it planned: kv"),
        (96 * MIB, "the engine did not allocate what it planned: kv 96 MiB planned, 64 MiB allocated"),
        (None, "llama.cpp does not tell its plan"),
    ],
)
def test_the_engines_plan_stands_beside_what_it_made(
    kv: int | None, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(*_: object) -> dict[str, int]:
        if kv is None:
            raise PhibenchError("llama.cpp does not tell its plan")
        return {"kv": kv, "compute": 7}

    monkeypatch.setattr(llama_cpp, "planned", planned)
    plan = plans.plan(catalog.variant(SETUP.variant), SETUP.quantization, fmt="gguf")
    result = measured(workload(512, 16))
    result = msgspec.structs.replace(
        result, engine=msgspec.structs.replace(result.engine, buffers={"kv": 64 * MIB + 1000})
    )
    found = memory_check.with_engine_plan(result, plan)
    assert found.notes == (note,)
    assert found.planned == ({} if kv is None else {"kv": kv, "compute": 7})
    assert found.readings == result.readings


# --------------------------------------------------------------------------------------------------- front door


@LINUX
def test_the_suite_watches_and_predicts(phibench: Phibench, tmp_path: Path) -> None:
    """Two layers of Phi-4-mini would weigh 500 MB: the null backend opens nothing, yet is watched all the same."""
    done = phibench("run", "memory", "-b", "null", "--quick", "-o", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [row["batch"] for row in found] == [1, 4]
    for row in found:
        assert 5 * MIB < row["host_needed_bytes"] <= row["host_peak_bytes"] + MIB
        assert row["memory"]["anonymous"] > 5 * MIB
        assert row["max_context_tokens"] is None
        assert row["device_peak_bytes"] is None
