"""What the process may really use, on recorded machines and in a real cgroup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import DOCKER_V1, GIB, HYBRID, arm, plant, v2, x86

from phibench.probe.system import cgroup, cpu
from phibench.probe.system.limits import limits
from phibench.probe.system.memory import host_memory


def test_without_limits_the_whole_machine_counts(tmp_path: Path) -> None:
    found = limits(plant(tmp_path, x86(cores=8, smt=2, gib=32, free_gib=20)))
    assert (found.cpus, found.threads) == (16.0, 8)  # threads: one for each core, not for its sibling
    assert (found.memory_bytes, found.free_bytes) == (32 * GIB, 20 * GIB)
    assert found.notes == ()


def test_own_group_of_version_2(tmp_path: Path) -> None:
    group = {
        "cpu.max": "250000 100000\n",
        "memory.max": f"{8 * GIB}\n",
        "memory.current": f"{5 * GIB}\n",
        "memory.stat": f"anon {3 * GIB}\nfile {2 * GIB}\ninactive_file {GIB}\nactive_file {GIB // 2}\n",
    }
    found = limits(plant(tmp_path, x86() | v2("/user.slice/run-1.scope", {"/user.slice/run-1.scope": group})))
    assert (found.cpus, found.threads) == (2.5, 3)
    assert found.memory_bytes == 8 * GIB
    assert found.free_bytes == 8 * GIB - 5 * GIB + GIB + GIB // 2  # cached file pages can be had
    assert found.notes == ("cgroup limits cpus to 2.5", "cgroup limits memory to 8 GiB")


def test_notes_say_more_than_the_restrictions(tmp_path: Path) -> None:
    few = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-7\n"}
    group = {"cpu.max": "250000 100000\n", "memory.max": f"{8 * GIB}\n", "memory.current": "0\n"}
    found = limits(plant(tmp_path, x86(cores=8, smt=1) | few | v2("/a", {"/a": group})))
    assert found.restrictions == ("cgroup limits cpus to 2.5", "cgroup limits memory to 8 GiB")
    assert found.notes == (
        "cgroup limits cpus to 2.5", "threads count the 4 performance cores of 8 cores", "cgroup limits memory to 8 GiB"
    )  # fmt: skip


def test_an_ancestor_binds_although_the_own_group_says_max(tmp_path: Path) -> None:
    groups = {
        "/a/b": {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": f"{GIB}\n"},
        "/a": {"cpu.max": "100000 100000\n", "memory.max": f"{6 * GIB}\n", "memory.current": f"{2 * GIB}\n"},
    }
    found = limits(plant(tmp_path, x86() | v2("/a/b", groups)))
    assert (found.cpus, found.threads) == (1.0, 1)
    assert (found.memory_bytes, found.free_bytes) == (6 * GIB, 4 * GIB)


def test_the_group_with_least_room_decides_not_the_one_with_the_smallest_limit(tmp_path: Path) -> None:
    groups = {
        "/a/b": {"memory.max": f"{4 * GIB}\n", "memory.current": "0\n"},
        "/a": {"memory.max": f"{8 * GIB}\n", "memory.current": f"{7 * GIB}\n"},
    }
    found = limits(plant(tmp_path, x86() | v2("/a/b", groups)))
    assert (found.memory_bytes, found.free_bytes) == (4 * GIB, GIB)


def test_memory_high_is_a_limit_and_says_so(tmp_path: Path) -> None:
    group = {"memory.max": f"{8 * GIB}\n", "memory.high": f"{3 * GIB}\n", "memory.current": f"{GIB}\n"}
    found = limits(plant(tmp_path, x86() | v2("/a", {"/a": group})))
    assert (found.memory_bytes, found.free_bytes) == (3 * GIB, 2 * GIB)
    assert any("memory.high" in note for note in found.notes)


def test_a_group_above_its_limit_has_nothing_free(tmp_path: Path) -> None:
    group = {"memory.high": f"{GIB}\n", "memory.current": f"{2 * GIB}\n"}
    assert limits(plant(tmp_path, x86() | v2("/a", {"/a": group}))).free_bytes == 0


def test_a_limit_above_the_machine_is_none(tmp_path: Path) -> None:
    found = limits(plant(tmp_path, x86(gib=32) | v2("/a", {"/a": {"memory.max": f"{64 * GIB}\n"}})))
    assert found.memory_bytes == 32 * GIB
    assert found.notes == ()


def test_container_with_version_1(tmp_path: Path) -> None:
    found = limits(plant(tmp_path, x86() | DOCKER_V1))
    assert (found.cpus, found.threads) == (1.5, 2)
    assert (found.memory_bytes, found.free_bytes) == (4 * GIB, 3 * GIB)
    assert "cgroup limits cpus to 1.5" in found.notes


def test_container_with_version_2_and_a_namespace(tmp_path: Path) -> None:
    """The container sees its own group as the root, where only namespaces have limit files."""
    found = limits(plant(tmp_path, x86() | v2("/", {"": {"cpu.max": "200000 100000\n", "memory.max": f"{GIB}\n"}})))
    assert (found.cpus, found.memory_bytes) == (2.0, GIB)


@pytest.mark.parametrize("path", ["/../../elsewhere", "/system.slice/docker-abc.scope"])
def test_a_path_that_no_mount_contains_means_the_top_of_the_mount(tmp_path: Path, path: str) -> None:
    tree = v2(path, {"": {"cpu.max": "300000 100000\n"}}, top="/docker/abc")
    assert limits(plant(tmp_path, x86() | tree)).cpus == 3.0


def test_both_versions_at_once(tmp_path: Path) -> None:
    found = limits(plant(tmp_path, x86() | HYBRID))
    assert found.cpus == 16.0
    assert (found.memory_bytes, found.free_bytes) == (8 * GIB, 3 * GIB)


def test_mount_points_with_spaces(tmp_path: Path) -> None:
    tree = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n",
        "my groups/cpu.max": "100000 100000\n",
    }
    assert limits(plant(tmp_path, x86() | tree)).cpus == 1.0


def test_affinity_counts_cores_within_it(tmp_path: Path) -> None:
    tree = x86(cores=8, smt=2) | {"proc/self/status": "Cpus_allowed_list:\t0,8,3\n"}
    found = limits(plant(tmp_path, tree))
    assert (found.cpus, found.threads) == (3.0, 2)  # 0 and 8 share a core
    assert found.notes == ("affinity allows 3 of 16 cpus",)


def test_affinity_may_name_cpus_that_are_not_there(tmp_path: Path) -> None:
    tree = x86(cores=2, smt=1) | {"proc/self/status": "Cpus_allowed_list:\t0-127\n"}
    assert limits(plant(tmp_path, tree)).cpus == 2.0


def test_efficiency_cores_get_no_thread(tmp_path: Path) -> None:
    intel = x86(cores=8, smt=1) | {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-7\n"}
    found = limits(plant(tmp_path / "intel", intel))
    assert (found.cpus, found.threads) == (8.0, 4)
    assert found.notes == ("threads count the 4 performance cores of 8 cores",)
    assert found.restrictions == ()
    rock = arm(*[("0x41", "0xd05")] * 4, *[("0x41", "0xd0b")] * 4)
    rock |= {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": "397\n" if n < 4 else "1024\n" for n in range(8)}
    assert limits(plant(tmp_path / "rock", rock)).threads == 4


def test_only_efficiency_cores_allowed_are_used(tmp_path: Path) -> None:
    tree = x86(cores=8, smt=1) | {
        "sys/devices/cpu_core/cpus": "0-3\n",
        "proc/self/status": "Cpus_allowed_list:\t6-7\n",
    }
    assert limits(plant(tmp_path, tree)).threads == 2


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="Windows has no /proc to miss")
def test_memory_is_known_in_a_sandbox_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", missing)
    total, available = host_memory(tmp_path)
    assert 0 < available <= total


def test_quota_of_version_1_without_limit(tmp_path: Path) -> None:
    plant(tmp_path, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"})
    assert cgroup.cpus(tmp_path) is None


EVERY_FILE = sorted(x86(cores=2) | v2("/a/b", {"/a": {
    "cpu.max": "100000 100000\n", "memory.max": "1000000\n", "memory.high": "1000000\n", "memory.current": "0\n",
    "memory.stat": "inactive_file 0\n", "cpu.stat": "nr_throttled 0\n",
}}) | DOCKER_V1 | arm(("0x41", "0xd0b"), board="Board"))  # fmt: skip
NUMBERS = st.integers(-(10**20), 10**20).map(lambda n: str(n).encode())
GARBAGE = st.one_of(st.binary(max_size=200), NUMBERS, st.builds(lambda a, b: a + b" " + b, NUMBERS, NUMBERS))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.dictionaries(st.sampled_from(EVERY_FILE), st.one_of(st.none(), GARBAGE), max_size=12), data=st.data())
def test_garbage_never_stops_the_probe(damage: dict[str, bytes | None], data: st.DataObject, tmp_path: Path) -> None:
    small = x86(cores=2, smt=1)
    base = data.draw(st.sampled_from([small, arm(("0x41", "0xd0b")), small | HYBRID, small | DOCKER_V1, {}]))
    root = tmp_path / str(hash((str(base), str(damage))))
    plant(root, base)
    for name, raw in damage.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if raw is not None:
            path.write_bytes(raw)
    found, machine = limits(root), cpu.cpu(root)
    assert found.threads >= 1
    assert 0 < found.cpus <= machine.logical_cores
    assert found.threads <= machine.logical_cores
    assert 0 <= found.free_bytes <= found.memory_bytes
    assert 0 < machine.physical_cores <= machine.logical_cores
    assert machine.name.isprintable()
    assert machine.name


# ------------------------------------------------------------------------------------------- the real thing

_ASK = """
import sys
for procs in sys.argv[1:]:
    open(procs, "w").write("0")
import json
from phibench.probe.system.limits import limits
found = limits()
print(json.dumps([found.cpus, found.threads, found.memory_bytes, found.free_bytes]), flush=True)
from phibench.cli import main
sys.argv = ["phibench", "recommend", "--goal", "chat", "--top", "all", "-o", "json"]
main()
"""


def test_a_real_cgroup_changes_the_answer() -> None:
    """1 cpu and 4 GB by the kernel's own hands, below the groups in which the tests run: threads and advice."""
    before = limits()
    if before.cpus <= 1 or before.memory_bytes <= 4_000_000_000:
        pytest.skip("this process has no more than 1 cpu and 4 GB to begin with")
    wanted = (
        {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"},
        {"memory.limit_in_bytes": "4000000000"},
        {"cpu.max": "100000 100000", "memory.max": "4000000000"},
    )
    made = [group for files in wanted if (group := _make(files))]
    try:
        limited = {file.name for group in made for file in group.iterdir()}
        if not (limited & {"cpu.cfs_quota_us", "cpu.max"} and limited & {"memory.limit_in_bytes", "memory.max"}):
            pytest.skip("no cgroup can be made here (needs root and a writable cgroup file system)")
        command = [sys.executable, "-c", _ASK, *(str(group / "cgroup.procs") for group in made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    finally:
        for group in made:
            group.rmdir()
    (cpus, threads, memory, free), possible = _said(done)
    assert (cpus, threads) == (1.0, 1)
    assert 3_999_000_000 < memory <= 4_000_000_000  # the kernel rounds to pages
    assert 3_000_000_000 < free <= memory
    whole = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False, timeout=60)
    assert possible < _said(whole)[1]  # what needs more is no candidate any more


def _said(done: subprocess.CompletedProcess[str]) -> tuple[list[float], set[str]]:
    """The limits, and the setups that have room in memory, be they fast or slow."""
    assert done.returncode in (0, 3, 5), done.stderr
    first, _, advice = done.stdout.partition("\n")
    candidates = json.loads(advice)["candidates"]
    room = {c["setup"] for c in candidates if not any(why.startswith("needs ") for why in c["objections"])}
    return json.loads(first), room


def _make(files: dict[str, str]) -> Path | None:
    """A new group with these limits below an own one that has such files, or None."""
    for parent in cgroup.groups(Path("/")):
        group = parent / f"phibench-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in files.items():
                with (group / name).open("r+") as stream:
                    stream.write(text)
        except OSError:
            group.rmdir()
            continue
        return group
    return None
