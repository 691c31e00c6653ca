"""The machine card: names, cores, caches, bandwidth, and what is remembered of them."""

from __future__ import annotations

import getpass
import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import DOCKER_V1, GIB, arm, plant, x86

from phibench import probe
from phibench.core import folders
from phibench.core.nouns import Machine
from phibench.machine import figures, inventory, software
from phibench.probe import busy
from phibench.probe.speed import doubts, memory
from phibench.probe.speed.memory import Bandwidth
from phibench.probe.system import cpu

# ------------------------------------------------------------------------------------------------ processor


def test_a_desktop(tmp_path: Path) -> None:
    found = cpu.cpu(plant(tmp_path, x86(cores=8, smt=2)))
    assert found.name == "AMD Ryzen 7 5800X 8-Core Processor"  # without the maker's padding
    assert (found.physical_cores, found.logical_cores) == (8, 16)
    assert found.cache_bytes == 32 << 20  # one cache shared by all, counted once
    assert found.flags == "sse4_2 avx avx2 fma f16c"


def test_a_raspberry_pi(tmp_path: Path) -> None:
    board = "Raspberry Pi 5 Model B Rev 1.0"
    found = cpu.cpu(plant(tmp_path, arm(*[("0x41", "0xd0b")] * 4, board=board)))
    assert found.name == f"{board} (4 x Cortex-A76)"
    assert found.flags == "asimd asimddp"
    assert found.cache_bytes is None  # this tree does not tell
    assert "0123456789abcdef" not in repr(found)  # the board's serial number stays where it is


def test_big_and_little_cores_and_one_nobody_knows(tmp_path: Path) -> None:
    parts = [("0x41", "0xd05"), ("0x41", "0xd05"), ("0x41", "0xd0b"), ("0x99", "0xabc")]
    found = cpu.name(plant(tmp_path, arm(*parts)))
    assert found == "2 x Cortex-A55 + 1 x Cortex-A76 + 1 x ARM core 0x99/0xabc"


def test_two_sockets_have_two_caches(tmp_path: Path) -> None:
    tree = x86(cores=4, smt=1)
    for n in range(4):
        tree[f"sys/devices/system/cpu/cpu{n}/cache/index1/shared_cpu_list"] = "0-1\n" if n < 2 else "2-3\n"
    assert cpu.cpu(plant(tmp_path, tree)).cache_bytes == 64 << 20


def test_an_empty_tree_still_has_a_processor(tmp_path: Path) -> None:
    found = cpu.cpu(tmp_path)
    assert found.name.endswith("processor")
    assert found.logical_cores >= 1


# -------------------------------------------------------------------------------------------------- machine


def test_this_machine_without_measuring() -> None:
    found = probe.machine(bandwidth_s=None)
    (processor,) = found.devices
    assert processor.kind == "cpu"
    assert processor.memory_bytes == found.limits.memory_bytes <= found.memory_bytes
    assert processor.read_bytes_s is None
    assert processor.basis is None
    for secret in (socket.gethostname(), getpass.getuser()):
        assert secret in {"", "root"} or secret not in repr(found)


def test_a_recorded_machine_is_not_given_the_bandwidth_of_this_one(tmp_path: Path) -> None:
    found = probe.machine(bandwidth_s=0.1, root=plant(tmp_path, x86() | DOCKER_V1))
    assert found.devices[0].read_bytes_s is None
    assert found.devices[0].memory_bytes == 4 * GIB
    assert "1.5 cpus" in found.identity


def test_what_is_free_now_is_not_part_of_the_identity(tmp_path: Path) -> None:
    one = probe.machine(root=plant(tmp_path / "one", x86(free_gib=20)))
    other = probe.machine(root=plant(tmp_path / "other", x86(free_gib=2)))
    assert one.limits.free_bytes != other.limits.free_bytes
    assert one.identity == other.identity


# ------------------------------------------------------------------------------------------------ bandwidth


@given(st.integers(1, 512), st.integers(0, 1 << 42), st.one_of(st.none(), st.integers(1, 1 << 31)))
def test_arrays_are_larger_than_caches_and_small_against_free_memory(
    threads: int, free: int, cache: int | None
) -> None:
    size, least = memory.array_bytes(threads, free, cache)
    assert size <= free // 4
    assert least >= 4 * (cache or 0)
    assert size >= least or size == free // 4


def test_too_little_memory_is_a_reason_not_an_error() -> None:
    found = memory.read_bandwidth(0.1, 2, free_bytes=1 << 20, cache_bytes=32 << 20)
    assert found.read_bytes_s is None
    assert "512 MiB" in found.because


@given(st.integers(1, 1024))
def test_sweep_is_in_range_and_starts_with_all(threads: int) -> None:
    counts = memory.sweep(threads)
    assert counts[0] == threads
    assert len(set(counts)) == len(counts)
    assert {1, threads} <= set(counts) <= set(range(1, threads + 1))


def test_measuring_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ROUND_S", 0.002)  # seconds of a round, which the real thing needs
    found = memory.measure(0.05, 2, 8 << 20)
    assert found.read_bytes_s
    assert 1e8 < found.read_bytes_s < 1e14
    assert found.rounds >= 5
    assert found.read_bytes_s == max(found.by_threads.values())
    assert found.by_threads[str(found.threads)] == found.read_bytes_s
    assert 0 <= found.ran < 1.5


@pytest.mark.parametrize(
    ("ran", "stolen", "most", "says"),
    [
        (0.41, 0.0, 9e9 / 0.41, "too low: its threads had a core only 41% of the time"),
        (0.95, 0.08, 9e9 / 0.95 / 0.92, "too low: the host took 8% of the cpu time"),
    ],
)
def test_a_disturbed_figure_says_by_what_and_what_it_can_be(ran: float, stolen: float, most: float, says: str) -> None:
    found = Bandwidth(read_bytes_s=9e9, because="threaded np.dot", threads=2, ran=ran, steal_share=stolen)
    doubted = memory.judged(found)
    assert (doubted.because, doubted.doubt) == (f"threaded np.dot; {says}", says)
    assert doubted.most_read_bytes_s == pytest.approx(most * doubts.MARGIN)


def test_a_figure_that_is_off_by_little_is_believed() -> None:
    found = Bandwidth(read_bytes_s=9e9, because="threaded np.dot", threads=2, ran=0.97, steal_share=0.03)
    assert memory.judged(found) == found


def test_what_a_quota_takes_is_no_disturbance() -> None:
    """An engine in the same container gets no more; and the programs of the whole host are not ours to close."""
    assert doubts.granted(1.5, 2) == 0.75
    assert doubts.granted(8.0, 2) == 1.0
    quota = doubts.kept(1, 0.5, others_share=0.9, ran=1.0, steal_share=None)
    assert (doubts.headroom(quota), doubts.why(quota)) == (1.0, "")
    whole = doubts.kept(1, None, others_share=0.9, ran=1.0, steal_share=None)
    assert doubts.why(whole) == "other programs kept 90% of the cpus busy"


KEPT = st.builds(
    doubts.Kept,
    threads=st.integers(1, 64),
    cpus=st.floats(1, 128),
    ran=st.floats(-0.1, 1.5),
    others_cpus=st.floats(0, 128),
    steal_share=st.floats(0, 1),
)


@given(KEPT, st.floats(0, 1), st.floats(0, 64), st.floats(0, 1))
def test_what_takes_more_leaves_more_room(kept: doubts.Kept, ran: float, more: float, stolen: float) -> None:
    worse = msgspec.structs.replace(
        kept, ran=min(kept.ran, ran), others_cpus=kept.others_cpus + more, steal_share=max(kept.steal_share, stolen)
    )
    assert 1 <= doubts.headroom(kept) <= doubts.headroom(worse) * (1 + 1e-9) < math.inf
    if doubts.headroom(kept) > 1.12:
        assert doubts.why(kept)  # a doubt always has words


@pytest.mark.parametrize(
    ("most", "seen", "sheet", "capped"),
    [(50e9, 20e9, None, 50e9), (50e9, 20e9, 40e9, 40e9), (50e9, 45e9, 40e9, 45e9), (None, 20e9, 40e9, None)],
)
def test_an_upper_end_is_not_above_the_data_sheet(
    most: float | None, seen: float, sheet: float | None, capped: float | None
) -> None:
    assert doubts.capped(most, seen, sheet) == capped


def test_arrays_that_no_memory_holds_are_a_reason(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    memory.main(["--seconds", "0.1", "--threads", "2", "--bytes", str(1 << 60)])
    found = msgspec.json.decode(capfdbinary.readouterr().out, type=Bandwidth)
    assert found.read_bytes_s is None
    assert found.because.startswith("not measured")


def test_the_child_process_prints_one_json_line() -> None:
    command = [sys.executable, "-W", "error", "-m", memory.__name__, "--seconds", "0.1"]
    done = subprocess.run(
        [*command, "--threads", "1", "--bytes", "4194304"], capture_output=True, check=True, timeout=60
    )
    found = msgspec.json.decode(done.stdout, type=Bandwidth)
    assert found.read_bytes_s
    assert found.array_bytes == 4 << 20
    assert done.stderr == b""


# ------------------------------------------------------------------------------------------------ inventory

FAST = Bandwidth(read_bytes_s=41e9, because="threaded np.dot, 2 of 2 threads")
SLOW = Bandwidth(
    read_bytes_s=9e9, because="threaded np.dot; too low: busy", doubt="too low: busy", ran=0.3, most_read_bytes_s=33e9
)
NONE = Bandwidth(read_bytes_s=None, because="not measured: too little memory")


class Measure:
    """Stands for three seconds of measuring: answers in turn, and counts."""

    def __init__(self, *answers: Bandwidth) -> None:
        self.answers, self.calls = list(answers), 0

    def __call__(self, here: Machine, seconds: float) -> Bandwidth:
        self.calls += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _measure(monkeypatch: pytest.MonkeyPatch, *answers: Bandwidth) -> Measure:
    measure = Measure(*answers)
    monkeypatch.setattr(probe, "bandwidth", measure)
    return measure


def test_bandwidth_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, FAST)
    first, second = inventory.this_machine(), inventory.this_machine()
    assert measure.calls == 1
    assert first.devices == second.devices
    assert second.devices[0].read_bytes_s == 41e9
    assert second.devices[0].basis == "probed"
    assert inventory.this_machine(bandwidth=False).devices[0].read_bytes_s == 41e9


def test_without_bandwidth_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, FAST)
    assert inventory.this_machine(bandwidth=False).devices[0].read_bytes_s is None
    assert measure.calls == 0


def test_other_limits_are_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, FAST, SLOW)
    inventory.this_machine()
    quick = probe.machine(bandwidth_s=None)
    narrow = msgspec.structs.replace(quick, limits=msgspec.structs.replace(quick.limits, cpus=0.5))
    monkeypatch.setattr(probe, "machine", lambda **_: narrow)
    assert inventory.this_machine().devices[0].read_bytes_s == 9e9
    assert measure.calls == 2
    assert len(json.loads((folders.cache_dir() / "machine.json").read_bytes())) == 2


def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, NONE, FAST)
    assert inventory.this_machine().devices[0].because.startswith("not measured")
    assert inventory.this_machine().devices[0].read_bytes_s == 41e9
    assert measure.calls == 2


def test_a_disturbed_figure_is_tried_again_later_and_the_better_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, SLOW, FAST, SLOW)
    first = inventory.this_machine().devices[0]
    assert (first.read_bytes_s, first.doubt) == (9e9, "too low: busy")
    inventory.this_machine()
    assert measure.calls == 1  # not for every command
    monkeypatch.setattr(figures, "_RETRY_S", -1)
    assert inventory.this_machine().devices[0].read_bytes_s == 41e9
    inventory.this_machine()
    assert measure.calls == 2  # a figure without disturbance stays
    assert inventory.this_machine(remeasure=True).devices[0].read_bytes_s == 9e9  # asked for: takes what it gets


LOUD = busy.Busy(look_s=0.3, cpus=2, share=0.6, programs=(busy.Program(name="cc1plus", cpus=1.2),))
CALM = busy.Busy(look_s=0.3, cpus=2, share=0.02)


def _looks(monkeypatch: pytest.MonkeyPatch, *answers: busy.Busy) -> list[busy.Busy]:
    left = list(answers)
    monkeypatch.setattr(busy, "look", lambda *_: left.pop(0))
    return left


def test_a_doubt_heals_by_itself_once_the_machine_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, SLOW, FAST)
    looks = _looks(monkeypatch, LOUD, CALM)
    first = inventory.this_machine().devices[0]
    assert (first.read_bytes_s, first.most_read_bytes_s, first.doubt) == (9e9, 33e9, "too low: busy")
    assert inventory.this_machine().devices[0] == first  # still loud: not measured, still doubted
    assert measure.calls == 1
    healed = inventory.this_machine().devices[0]
    assert (healed.read_bytes_s, healed.most_read_bytes_s, healed.doubt) == (41e9, None, "")
    assert inventory.this_machine().devices[0] == healed  # nothing is doubted, so nobody looks
    assert (measure.calls, looks) == (2, [])


def test_a_quiet_measurement_ends_the_doubt_of_a_figure_that_was_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    high = msgspec.structs.replace(SLOW, read_bytes_s=42e9, most_read_bytes_s=60e9)
    _measure(monkeypatch, high, FAST)
    _looks(monkeypatch, CALM)
    inventory.this_machine()
    found = inventory.this_machine().devices[0]
    assert (found.read_bytes_s, found.doubt, found.because) == (42e9, "", FAST.because)


def test_where_it_stays_busy_each_command_measures_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _measure(monkeypatch, SLOW)
    _looks(monkeypatch, CALM, CALM)
    for calls in (1, 2, 3):
        assert inventory.this_machine().devices[0].doubt
        assert measure.calls == calls


def test_a_command_that_needs_no_bandwidth_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    _measure(monkeypatch, SLOW)
    looks = _looks(monkeypatch, CALM)
    inventory.this_machine()
    assert inventory.this_machine(bandwidth=False).devices[0].doubt
    assert looks == [CALM]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"a": 1}',
        b'{"a": {"at": 0}}',
        b"[" * 100_000,
        b"null",
        b'{"a": {"x": ' + b"[" * 100_000,
    ],
)
def test_a_damaged_cache_is_measured_anew_and_rewritten(monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    measure = _measure(monkeypatch, FAST)
    path = folders.cache_dir() / "machine.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    inventory.this_machine()
    inventory.this_machine()
    assert measure.calls == 1


def test_a_nonsense_figure_in_the_cache_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    _measure(monkeypatch, FAST)
    inventory.this_machine()
    path = folders.cache_dir() / "machine.json"
    path.write_text(path.read_text().replace("41000000000.0", "-1.0"))
    assert inventory.this_machine(bandwidth=False).devices[0].read_bytes_s is None


def test_a_cache_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _measure(monkeypatch, FAST)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PHIBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert inventory.this_machine().devices[0].read_bytes_s == 41e9


def test_software_names_nobody() -> None:
    found = software.software()
    assert {"python", "phibench", "numpy", "psutil", "os"} <= set(found)
    for secret in (socket.gethostname(), getpass.getuser()):
        assert secret in {"", "root"} or secret not in " ".join(found.values())
