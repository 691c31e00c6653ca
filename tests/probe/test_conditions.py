"""What speaks against a result: the looks around a run, on recorded trees and here."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trees_power as power
from hypothesis import given
from hypothesis import strategies as st
from trees import DOCKER_V1, plant, x86

from phibench.core.nouns import Conditions, Throttle
from phibench.core.nouns.conditions import Stored, lines, stored
from phibench.measure.suites import load
from phibench.probe import conditions
from phibench.probe.devices import nvidia
from phibench.probe.system import gauges

# -------------------------------------------------------------------------------------------------- looking


def test_conditions_of_a_recorded_machine(tmp_path: Path) -> None:
    tree = x86(cores=2, smt=1) | DOCKER_V1 | {
        "proc/loadavg": "3.80 2.00 1.00 2/300 4000\n",
        "proc/stat": "cpu  100 20 30 800 10 0 5 35 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
        "proc/vmstat": "pswpin 3\nworkingset_refault_file 5\npgmajfault 7\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "9\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    }  # fmt: skip
    found = conditions.look(plant(tmp_path, tree))
    assert found.load_1m == 3.8
    assert (found.cpu_ticks, found.steal_ticks) == (1000, 35)
    assert found.major_faults == 7
    assert found.throttled_periods == 7
    assert found.thermal_throttles == 13
    assert found.governor == "performance"
    assert "avx2" in (found.instruction_sets or "")


def test_conditions_here_name_nobody() -> None:
    found = conditions.look(busy_s=0.01)
    assert (found.cpus or 0) >= 1
    assert 0 <= (found.busy_share or 0) <= 1  # no share where no clock ticked in that time
    assert conditions.look(busy_s=0).busy_share is None
    assert socket.gethostname() not in found.texts().values()


def test_a_hot_intel_laptop_on_battery(tmp_path: Path) -> None:
    tree = (
        x86(cores=2, smt=1) | power.throttling() | power.AWAY | power.MOUSE | power.pressure("cpu", "4.21", 987654321)
    )
    tree |= power.settings("intel_pstate", "powersave", "balance_power", "balanced", no_turbo="0")
    found = conditions.look(plant(tmp_path, tree))
    assert found.power == "battery"
    assert (found.thermal_throttles, found.thermal_throttle_ms) == (13, 1200)  # the package counted once
    assert found.cpu_temp_c == 93.0
    assert (found.cpu_pressure, found.cpu_waited_us) == (0.0421, 987654321)
    assert (found.frequency_driver, found.energy_preference) == ("intel_pstate", "balance_power")
    assert (found.platform_profile, found.turbo) == ("balanced", "on")
    assert found.free_bytes == 20 << 30
    assert found.busy_share is None  # a recorded machine stands still


def test_every_core_that_slowed_down_is_noticed(tmp_path: Path) -> None:
    before = conditions.look(plant(tmp_path, power.throttling(core=4, package=9)))
    after = conditions.look(plant(tmp_path, power.throttling(core=5, package=9)))  # less than the package has
    assert conditions.delta(before, after)["thermal_throttles"] == 1
    assert conditions.warnings(before, after) == ("the processor slowed down because of heat during the run",)


@pytest.mark.parametrize(
    ("tree", "turbo"),
    [
        (power.settings("intel_pstate", "performance", no_turbo="1"), "off"),
        ({"sys/devices/system/cpu/cpufreq/boost": "1\n"}, "on"),
        ({"sys/devices/system/cpu/cpu0/cpufreq/boost": "0\n"}, "off"),
        ({}, None),
    ],
)
def test_turbo_of_any_driver(tmp_path: Path, tree: dict[str, str], turbo: str | None) -> None:
    assert conditions.look(plant(tmp_path, tree)).turbo == turbo


@pytest.mark.parametrize(
    ("tree", "degrees"),
    [
        (power.hwmon(1, "k10temp", temp1_input="61250"), 61.25),
        (power.DISK, None),
        (
            {"sys/class/thermal/thermal_zone0/type": "cpu-thermal\n", "sys/class/thermal/thermal_zone0/temp": "48312"},
            48.312,
        ),
        ({"sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n", "sys/class/thermal/thermal_zone0/temp": "0"}, None),
        (
            {"sys/class/thermal/thermal_zone0/type": "iwlwifi_1\n", "sys/class/thermal/thermal_zone0/temp": "41000"},
            None,
        ),
    ],
)
def test_only_the_processor_is_felt(tmp_path: Path, tree: dict[str, str], degrees: float | None) -> None:
    assert gauges.temperature_c(plant(tmp_path, tree)) == degrees


def test_only_someone_who_waits_gets_a_short_look() -> None:
    assert load("latency").look_s == 5.0
    assert load("quick").look_s < 1


# -------------------------------------------------------------------------------------------------- judging

QUIET = Conditions(
    cpus=8,
    load_1m=9.0,  # the load average still holds our own last minute
    look_s=5.001,
    busy_share=0.1,
    cpu_waited_share=0.02,
    memory_waited_share=0.0,
    cpu_pressure=0.9,
    look_steal_share=0.001,
    look_swapped_in_bytes=0,
    look_refault_bytes=1 << 40,
    look_throttled_periods=3,
    look_thermal_throttles=0,
    cpu_temp_c=55.0,
    cpu_ticks=1000,
    steal_ticks=10,
    throttled_periods=4,
    governor="powersave",
    frequency_driver="intel_pstate",
    energy_preference="balance_performance",
    turbo="off",
    power="mains",
)
CAP = Throttle(name="power cap")
HEAT = Throttle(name="thermal slowdown", protects=True)


def quiet(**changes: Any) -> Conditions:
    return msgspec.structs.replace(QUIET, **changes)


def test_a_quiet_run_has_no_warning() -> None:
    after = quiet(cpu_ticks=3000, steal_ticks=11)
    assert conditions.delta(QUIET, after) == {"throttled_periods": 0, "steal_share": 0.0005}
    assert conditions.warnings(QUIET, after) == ()


def test_what_our_own_load_does_is_no_warning() -> None:
    after = quiet(
        load_1m=64.0, busy_share=1.0, cpu_pressure=1.0, memory_pressure=0.5, cpu_temp_c=99.0, free_bytes=1,
        major_faults=99999, gpu_processes=1, gpu_throttle=(CAP,),
    )  # fmt: skip
    assert conditions.warnings(QUIET, after) == ()


def test_everything_that_can_go_wrong_is_said() -> None:
    names = ("steal_ticks", "swapped_in_bytes", "refault_bytes", "throttled_periods", "thermal_throttles")
    zero: dict[str, Any] = dict.fromkeys(names, 0)
    many: dict[str, Any] = {**dict.fromkeys(names, 1 << 30), "steal_ticks": 120}
    before = Conditions(**zero, cpus=2, busy_share=0.4, cpu_ticks=1000, power="mains")
    after = Conditions(**many, cpu_ticks=2000, power="battery")
    said = conditions.warnings(before, after)
    assert said[0] == "CPU steal 12% during the run: the host was busy"
    assert len(said) == 7
    assert "1 GiB swapped in during the run" in said
    assert "other programs kept 40% of the cpus busy just before the run" in said
    assert "ran on battery" in said


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ({"busy_share": 0.11}, "other programs kept 11% of the cpus busy just before the run"),
        ({"cpu_waited_share": 0.3}, "programs waited for a cpu 30% of the time just before the run"),
        ({"memory_waited_share": 0.06}, "programs waited for memory 6% of the time just before the run"),
        ({"look_steal_share": 0.05}, "CPU steal 5% just before the run: the host was busy"),
        ({"look_swapped_in_bytes": 3 << 20}, "3 MiB swapped in just before the run"),
        ({"look_thermal_throttles": 1}, "the processor was slowing down because of heat just before the run"),
        ({"cpu_temp_c": 88.5}, "the processor was at 88 °C before the run began"),
        ({"gpu_processes": 1}, "1 other program used the GPU just before the run"),
        ({"gpu_processes": 2}, "2 other programs used the GPU just before the run"),
        ({"gpu_throttle": (CAP, HEAT)}, "the GPU slowed itself down: thermal slowdown"),
        ({"energy_preference": "power"}, "ran with the energy preference 'power', which saves power"),
        ({"platform_profile": "low-power"}, "ran with the platform profile 'low-power', which saves power"),
        (
            {"frequency_driver": "acpi-cpufreq"},
            "ran with the governor 'powersave', which holds the processor at its lowest frequency",
        ),
        ({"power": "battery"}, "ran on battery"),
    ],
)
def test_each_condition_is_said_alone(seen: dict[str, Any], says: str) -> None:
    assert conditions.warnings(quiet(**seen), quiet(**seen)) == (says,)


def test_a_load_is_said_once() -> None:
    busy = quiet(busy_share=0.5, cpu_waited_share=0.5)
    assert conditions.warnings(busy, QUIET) == ("other programs kept 50% of the cpus busy just before the run",)


def test_a_short_look_says_little() -> None:
    hasty = quiet(look_s=0.3, busy_share=0.2, cpu_waited_share=0.5, look_steal_share=0.1, cpu_temp_c=95.0)
    assert conditions.warnings(hasty, QUIET) == ()
    assert len(conditions.warnings(msgspec.structs.replace(hasty, busy_share=0.3), QUIET)) == 1


@pytest.mark.parametrize("key", ["governor", "energy_preference", "platform_profile", "turbo"])
def test_a_setting_that_changes_under_a_run_is_said(key: str) -> None:
    (said,) = conditions.warnings(quiet(**{key: "one"}), quiet(**{key: "two"}))
    assert said == f"{key.replace('_', ' ')} changed during the run: one to two"
    assert conditions.warnings(quiet(**{key: "one"}), quiet(**{key: None})) == ()


def test_every_limit_is_used_and_every_warning_has_one() -> None:
    judged = {key.removeprefix("look_") for key in (*conditions._DURING, *conditions._BEFORE)}
    assert judged | {"busy_share_short", "gpu_processes"} == set(conditions.LIMITS)
    assert {*conditions._BEFORE, *conditions._COUNTERS, *conditions._TICKS} <= set(Conditions.__struct_fields__)


# ------------------------------------------------------------------------------------------ here and garbage


def test_a_look_here_watches_and_tells_how_long() -> None:
    found = conditions.look(busy_s=0.02)
    assert (found.look_s or 0) >= 0.02
    assert all(float(value) >= 0 for key, value in found.texts().items() if key.startswith("look_"))


@pytest.mark.parametrize("busy_s", [0.0, 0.01])
def test_processes_on_the_gpu_are_counted_only_while_none_is_ours(
    monkeypatch: pytest.MonkeyPatch, busy_s: float
) -> None:
    monkeypatch.setattr(nvidia, "processes", lambda: 2)
    monkeypatch.setattr(nvidia, "throttle", lambda: (CAP, HEAT))
    found = conditions.look(busy_s=busy_s, gpu=True)
    assert found.gpu_processes == (2 if busy_s else None)
    assert found.texts()["gpu_throttle"] == "power cap, thermal slowdown"
    assert not {"gpu_processes", "gpu_throttle"} & set(conditions.look(busy_s=busy_s).texts())


def test_busy_is_what_programs_here_took() -> None:
    first = {"user": 50.0, "system": 20.0, "idle": 100.0, "iowait": 5.0, "steal": 1.0, "guest": 7.0}
    gained = {"user": 2.0, "system": 1.0, "idle": 5.0, "iowait": 1.0, "steal": 1.0, "guest": 2.0}
    assert conditions.busy_share(first, {name: first[name] + gained[name] for name in first}) == 0.3
    assert conditions.busy_share(first, first) is None
    assert conditions.busy_share({"user": 1.0, "idle": 1.0}, {"user": 2.0, "idle": 0.5}) == 1.0  # idle ran backwards
    assert conditions.busy_share({"user": 0.0, "idle": 0.0}, {"user": 3.0, "idle": 7.0}, own_s=1.0) == 0.2  # we too
    assert conditions.busy_share({"user": 0.0, "idle": 0.0}, {"user": 1.0, "idle": 9.0}, own_s=4.0) == 0.0


looks = st.builds(
    Conditions,
    **dict.fromkeys(("swapped_in_bytes", "refault_bytes", "cpu_ticks", "steal_ticks", "gpu_processes"),
                    st.none() | st.integers(-5, 10**18)),
    **dict.fromkeys(("look_s", "busy_share", "look_steal_share"), st.none() | st.floats()),
)  # fmt: skip


@given(looks, looks)
def test_no_figure_of_a_driver_breaks_the_comparison(before: Conditions, after: Conditions) -> None:
    assert all(value >= 0 for value in conditions.delta(before, after).values())
    conditions.warnings(before, after)


EVERYTHING = {
    **x86(cores=2, smt=1), **DOCKER_V1, **power.throttling(), **power.AWAY, **power.pressure("cpu"),
    **power.pressure("memory"), **power.settings("intel_pstate", "powersave", "power", "quiet", "1"),
    "proc/loadavg": "3.80 2.00 1.00 2/300 4000\n",
    "proc/stat": "cpu  100 20 30 800 10 0 5 35 0 0\n",
    "proc/vmstat": "pswpin 3\nworkingset_refault_file 5\npgmajfault 7\n",
}  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(EVERYTHING)), st.binary(max_size=300), min_size=1, max_size=6))
def test_garbage_in_any_file_is_left_out(tmp_path_factory: pytest.TempPathFactory, damage: dict[str, bytes]) -> None:
    root = plant(tmp_path_factory.mktemp("tree"), EVERYTHING)
    for name, raw in damage.items():
        (root / name).write_bytes(raw)
    found = conditions.look(root)
    assert all(value.isprintable() and len(value) <= 200 for value in found.texts().values())
    assert 0 < (found.cpu_temp_c or 1) <= 150
    assert 0 <= (found.cpu_pressure or 0) <= 1
    assert found.power in {"mains", "battery", None}
    conditions.warnings(found, found)


def test_opening_a_model_is_no_lack_of_memory() -> None:
    """A system that had set the file's pages aside reads them again, once for each worker that opens it."""
    before, after = Conditions(refault_bytes=0), Conditions(refault_bytes=3 << 30)
    assert conditions.warnings(before, after, opened_bytes=3 << 30) == ()
    assert "1 GiB of files" in conditions.warnings(before, after, opened_bytes=2 << 30)[0]


# ----------------------------------------------------------------------------------------- in a run file


def test_a_run_file_has_texts_in_one_order() -> None:
    seen = Conditions(
        instruction_sets="avx2 fma", gpu_throttle=(CAP, HEAT), free_bytes=1 << 33, look_steal_share=0.0, busy_share=0.0,
        look_swapped_in_bytes=12_345_678_901, load_1m=3.0, cpus=2,
    )  # fmt: skip
    assert list(seen.texts().items()) == [
        ("cpus", "2"), ("load_1m", "3.0"), ("busy_share", "0.0"), ("look_swapped_in_bytes", "12345678901"),
        ("look_steal_share", "0"), ("free_bytes", "8589934592"), ("gpu_throttle", "power cap, thermal slowdown"),
        ("instruction_sets", "avx2 fma"),
    ]  # fmt: skip
    assert Conditions().texts() == {}


def test_a_run_file_is_read_as_it_was_written() -> None:
    kept = Stored(before={"cpus": "2"}, after={"cpus": "1"}, selftest={"llama_cpp_cpu": "passed"})
    flat = kept.flat()
    assert list(flat) == ["before_cpus", "selftest_llama_cpp_cpu", "after_cpus"]
    assert stored(flat) == kept
    assert stored({"load before": "0.41", "": "x", "before": "y"}) == Stored()  # another tool's


def test_lines_of_a_run_file_know_their_units() -> None:
    flat = {"before_free_bytes": "4096", "load before": "0.41", "selftest_torch_cpu": "passed",
            "after_free_bytes": "none", "after_busy_share": "0.25", "after_load_1m": "9.5"}  # fmt: skip
    assert [(line.what, line.unit, line.before, line.after) for line in lines(flat)] == [
        ("free", "bytes", 4096.0, "none"),
        ("load before", None, "0.41", None),
        ("selftest torch cpu", None, "passed", None),
        ("busy", "share", None, 0.25),
        ("load 1m", None, None, "9.5"),
    ]
