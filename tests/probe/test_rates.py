"""What is measured of a machine: matrix rate, disk, GPUs by torch, and what is remembered of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest
from fakes import machine

from phibench import probe
from phibench.core.nouns import Device, Machine, Storage
from phibench.machine import figures, inventory
from phibench.predict import device_class
from phibench.probe import busy
from phibench.probe.devices import nvidia
from phibench.probe.speed import child, disk, doubts, matrix, memory
from phibench.probe.speed import gpu as speed_gpu
from phibench.probe.speed.matrix import Matrix
from phibench.probe.speed.memory import Bandwidth

FAKE_TORCH = """
uint8, bfloat16 = "uint8", "bfloat16"
class Tensor:
    def copy_(self, other): return self
    def to(self, kind): return self
    def __matmul__(self, other): return self
def zeros(*shape, **_): return Tensor()
ones_like = randn = zeros
class cuda:
    @staticmethod
    def synchronize(): pass
"""


def test_the_matrix_rate_is_that_of_real_products() -> None:
    found = matrix.rates(1)
    assert 1e8 < found.flops_s["float32"] < 1e14, found
    assert set(found.most_flops_s) <= set(found.flops_s)
    assert bool(found.most_flops_s) == bool(found.doubt)


def test_best_of_a_product_counts_two_n_cubed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def product(n: int) -> None:
        now[0] += 2 * n**3 / 1e11

    assert matrix.best(product).flops_s == pytest.approx(1e11)
    assert matrix.best_small(product) == pytest.approx(1e11)


def products(seen: float, one: float | None, others: float) -> dict[str, matrix.Product]:
    return {"float32": matrix.Product(flops_s=seen, one_flops_s=one, others_share=others)}


@pytest.mark.parametrize(
    ("seen", "one", "others", "most"),
    [
        (200e9, 106e9, 0.0, None),
        (100e9, 106e9, 0.5, 212e9 * doubts.MARGIN),  # two threads can do twice what one did
        (205e9, 106e9, 0.5, None),  # a round that nobody disturbed
        (200e9, 150e9, 0.05, None),  # threads that hold each other up do it always
        (100e9, None, 0.5, 200e9 * doubts.MARGIN),
    ],
)
def test_a_disturbed_matrix_rate_lies_below_what_its_threads_can_do(
    seen: float, one: float | None, others: float, most: float | None
) -> None:
    found = matrix.judged(products(seen, one, others), 2)
    assert found.flops_s == {"float32": seen}
    assert found.doubt == ("too low: other programs kept 50% of the cpus busy" if most else "")
    assert found.most_flops_s == ({"float32": pytest.approx(most)} if most else {})


def test_copies_are_measured_beside_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ROUND_S", 0.002)
    found = memory.measure(0.05, 1, 8 << 20)
    assert found.copy_bytes_s
    assert 1e8 < found.copy_bytes_s < 1e14
    assert found.steal_share is None or 0 <= found.steal_share <= 1


def test_time_that_the_host_took_is_a_disturbance() -> None:
    assert memory.judged(Bandwidth(read_bytes_s=1e9, because="", steal_share=0.15)).doubt
    assert not memory.judged(Bandwidth(read_bytes_s=1e9, because="", steal_share=0.01)).doubt


def test_a_disk_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    found = disk.storage(tmp_path / "not" / "yet", size=8 << 20)
    assert found.free_bytes
    assert found.read_bytes_s is None or found.read_bytes_s > 1e6
    assert found.because
    assert list(tmp_path.iterdir()) == []


def test_little_space_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda _: 1 << 30)
    assert disk.storage(tmp_path) == Storage(
        free_bytes=1 << 30, because="not measured: 1 GiB free, less than 2 GiB to spare"
    )


def test_a_full_disk_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert disk.storage(tmp_path, size=8 << 20).because == "not measured: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_as_fast_as_memory_was_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_read", lambda *_: (1e12, "somehow"))
    assert disk.storage(tmp_path, size=8 << 20).read_bytes_s is None


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["-c"], "exited with code"), (["--threads", "0", "--type", "float64"], "exited with code 2")],
)
def test_a_child_that_fails_is_a_reason(arguments: list[str], why: str) -> None:
    found = child.ask(matrix.__name__, arguments, dict[str, float], 60)
    assert isinstance(found, str)
    assert why in found


def test_a_child_that_hangs_is_a_reason() -> None:
    assert (
        child.ask("timeit", ["-n", "1", "import time; time.sleep(60)"], dict[str, float], 0.5) == "no answer in 500 ms"
    )


GPU = Device(kind="cuda:0", name="RTX 4090", read_bytes_s=1008e9, spec_read_bytes_s=1008e9, basis="spec")


def test_a_gpu_without_torch_keeps_its_data_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = speed_gpu.measured(GPU)
    assert (found.read_bytes_s, found.basis) == (1008e9, "spec")
    assert found.notes == ("bandwidth not measured: torch is not installed",)


def test_the_child_that_measures_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a torch that computes nothing, and so is too fast to be true."""
    (tmp_path / "torch.py").write_text(FAKE_TORCH, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    found = child.ask(speed_gpu.__name__, ["--device", "cuda:0"], speed_gpu.Rates, 60)
    assert isinstance(found, speed_gpu.Rates), found
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "nonsense" in speed_gpu.measured(GPU).notes[0]


def test_a_measured_gpu_shows_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr(child, "ask", lambda *_: speed_gpu.Rates(920e9, 160e12))
    found = speed_gpu.measured(GPU)
    assert (found.read_bytes_s, found.spec_read_bytes_s, found.basis) == (920e9, 1008e9, "probed")
    assert found.matrix_flops_s == {"bfloat16": 160e12}
    known = device_class.place(machine(), found)
    assert known.read_bytes_s == 1008e9
    assert known.ops_s == pytest.approx(160e12 / device_class.MEASURED_SHARE)


@pytest.mark.parametrize(("share", "processes", "most"), [(0.05, 3, None), (0.4, 1, 1008e9), (0.4, None, 1008e9)])
def test_a_gpu_that_others_use_is_doubted(
    monkeypatch: pytest.MonkeyPatch, share: float, processes: int | None, most: float | None
) -> None:
    """Programs take turns on a GPU; more than its data sheet it cannot read."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr(child, "ask", lambda *_: speed_gpu.Rates(520e9, 80e12))
    monkeypatch.setattr(nvidia, "busy_share", lambda: share)
    monkeypatch.setattr(nvidia, "processes", lambda: processes)
    found = speed_gpu.measured(GPU)
    assert (found.read_bytes_s, found.most_read_bytes_s) == (520e9, most)
    assert (
        found.doubt
        == found.matrix_doubt
        == ("too low: other programs kept the GPU busy 40% of the time" if most else "")
    )
    assert found.most_matrix_flops_s == ({"bfloat16": 160e12} if most else {})


# ------------------------------------------------------------------------------------------------ inventory

MATRIX = {"float32": 2e11, "bfloat16": 4e11}


class Slow:
    """Counts how often each slow thing is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpus: tuple[Device, ...] = ()) -> None:
        self.calls: list[str] = []
        quick = probe.machine(bandwidth_s=None)
        quick = msgspec.structs.replace(quick, devices=(*quick.devices, *gpus))
        monkeypatch.setattr(probe, "machine", lambda **_: quick)
        monkeypatch.setattr(probe, "bandwidth", lambda *_: self("memory", Bandwidth(read_bytes_s=40e9, because="dot")))
        monkeypatch.setattr(figures, "matrix_rates", lambda *_: self("matrix", Matrix(flops_s=MATRIX)))
        monkeypatch.setattr(disk, "storage", lambda _: self("disk", Storage(read_bytes_s=1e9, because="direct")))
        monkeypatch.setattr(
            speed_gpu,
            "measured",
            lambda d: self(d.kind, msgspec.structs.replace(d, read_bytes_s=9e11, basis="probed")),
        )

    def __call__(self, what: str, value: object) -> object:
        self.calls.append(what)
        return value


def test_everything_slow_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, (GPU,))
    told: list[str] = []
    first = inventory.this_machine(full=True, on_progress=told.append)
    assert told == ["memory bandwidth", "matrix rate", "disk", "RTX 4090"]
    second = inventory.this_machine(full=True)
    assert slow.calls == ["memory", "matrix", "disk", "cuda:0"]
    assert first.devices == second.devices
    cpu, gpu = second.devices
    assert cpu.matrix_flops_s == MATRIX
    assert (gpu.read_bytes_s, gpu.spec_read_bytes_s, gpu.basis) == (9e11, 1008e9, "probed")
    assert second.storage is not None
    assert second.storage.read_bytes_s == 1e9
    assert second.storage.free_bytes
    assert {b.backend for b in second.backends} == {"llama_cpp", "onnxruntime", "torch"}
    inventory.this_machine(full=True, remeasure=True)
    assert slow.calls[4:] == ["memory", "matrix", "disk", "cuda:0"]


def test_a_recommendation_waits_for_the_bandwidth_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, (GPU,))
    assert inventory.this_machine().devices[0].matrix_flops_s == {}
    assert slow.calls == ["memory"]
    inventory.this_machine(full=True)
    assert inventory.this_machine(bandwidth=False).devices[0].matrix_flops_s == MATRIX  # what is known is used


def test_a_quick_look_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, (GPU,))
    found: Machine = inventory.this_machine(bandwidth=False, full=True)
    assert slow.calls == []
    assert found.devices[0].read_bytes_s is None
    assert found.devices[1].basis == "spec"


def test_what_could_not_be_measured_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    monkeypatch.setattr(figures, "matrix_rates", lambda *_: slow("matrix", Matrix(because="not measured: no numpy")))
    inventory.this_machine(full=True)
    inventory.this_machine(full=True)
    assert slow.calls == ["memory", "matrix", "disk", "matrix"]


def test_a_doubted_matrix_rate_and_gpu_heal_with_the_next_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, (GPU,))
    low = Matrix(flops_s={"float32": 9e10}, doubt="too low: busy", most_flops_s={"float32": 2.2e11})
    with monkeypatch.context() as patch:
        patch.setattr(figures, "matrix_rates", lambda *_: low)
        patch.setattr(
            speed_gpu, "measured", lambda d: msgspec.structs.replace(d, read_bytes_s=5e11, basis="probed", doubt="busy")
        )
        cpu, gpu = inventory.this_machine(full=True).devices
    assert (cpu.matrix_doubt, cpu.most_matrix_flops_s, gpu.doubt) == ("too low: busy", {"float32": 2.2e11}, "busy")
    monkeypatch.setattr(busy, "look", lambda: busy.Busy(look_s=0.3, cpus=2, share=0.0))
    slow.calls.clear()
    cpu, gpu = inventory.this_machine().devices
    assert (cpu.matrix_flops_s, cpu.matrix_doubt, cpu.most_matrix_flops_s, gpu.doubt) == (MATRIX, "", {}, "")
    assert slow.calls == ["matrix", "cuda:0"]  # the bandwidth of memory was not doubted
