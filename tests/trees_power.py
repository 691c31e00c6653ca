"""Energy counters, batteries and heat as Linux shows them, each tree cut to what the probe reads."""

from __future__ import annotations

_CAP = "sys/class/powercap"
_SUPPLY = "sys/class/power_supply"
RANGE_UJ = 262143328850  # 32 bits of 61 µJ


def rapl(zones: dict[str, tuple[str, str]], ceiling_uj: int = RANGE_UJ) -> dict[str, str]:
    """``zones``: folder -> (name, energy_uj). The control type has no counter of its own."""
    files = {f"{_CAP}/intel-rapl/enabled": "1\n"}
    for zone, (name, energy) in zones.items():
        files[f"{_CAP}/{zone}/name"] = f"{name}\n"
        files[f"{_CAP}/{zone}/energy_uj"] = f"{energy}\n"
        files[f"{_CAP}/{zone}/max_energy_range_uj"] = f"{ceiling_uj}\n"
    return files


# A client of 2020: psys is a zone beside the package, and the memory-mapped copy repeats the package.
LAPTOP = rapl(
    {
        "intel-rapl:0": ("package-0", "17340968233"),
        "intel-rapl:0:0": ("core", "9213000122"),
        "intel-rapl:0:1": ("uncore", "301442871"),
        "intel-rapl:1": ("psys", "60133208981"),
        "intel-rapl-mmio:0": ("package-0", "17340969001"),
    }
)
DUAL_SOCKET = rapl(
    {
        "intel-rapl:0": ("package-0", "193554000000"),
        "intel-rapl:0:0": ("dram", "33554000000"),
        "intel-rapl:1": ("package-1", "183554000000"),
        "intel-rapl:1:0": ("dram", "31554000000"),
    }
)
AMD_DESKTOP = rapl({"intel-rapl:0": ("package-0", "1122334455"), "intel-rapl:0:0": ("core", "99887766")})
GUEST = rapl({"intel-rapl:0": ("package-0", "0")})  # a hypervisor that passes the zone and not the counter

_PMU = "sys/bus/event_source/devices/power"


def perf(paranoid: int = 2, capabilities: str = "0000000000000000") -> dict[str, str]:
    codes = {"energy-cores": 1, "energy-pkg": 2, "energy-ram": 3}
    files = {
        "proc/sys/kernel/perf_event_paranoid": f"{paranoid}\n",
        "proc/self/status": f"Name:\tpython\nCapInh:\t0000000000000000\nCapEff:\t{capabilities}\n",
        f"{_PMU}/type": "29\n",
        f"{_PMU}/cpumask": "0,16\n",
    }
    for event, code in codes.items():
        files[f"{_PMU}/events/{event}"] = f"event=0x{code:02x}\n"
        files[f"{_PMU}/events/{event}.scale"] = "2.3283064365386962890625e-10\n"
        files[f"{_PMU}/events/{event}.unit"] = "Joules\n"
    return files


def hwmon(number: int, name: str, **files: str) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    return {f"{folder}/name": f"{name}\n"} | {f"{folder}/{file}": f"{text}\n" for file, text in files.items()}


RADEON = hwmon(3, "amdgpu", power1_average="23000000", power1_label="PPT", power1_cap="272000000", in0_input="725")
RADEON_NEW = hwmon(3, "amdgpu", power1_average="23000000", power1_input="24000000", power1_label="PPT")
APU = hwmon(2, "amdgpu", power1_input="6000000", power1_label="PPT", in0_input="1100", in1_input="850")
ARC_XE = hwmon(
    4, "xe", energy1_input="8812345678", energy1_label="card", energy2_input="5512345678", energy2_label="pkg",
    power1_max="190000000",
)  # fmt: skip
ARC_I915 = hwmon(4, "i915", energy1_input="8812345678", power1_max="190000000") | hwmon(
    5, "i915_gt0", energy1_input="5512345678"
)
ZENPOWER = hwmon(
    1, "zenpower", power1_input="12000000", power1_label="SVI2_P_Core", power2_input="8000000",
    power2_label="SVI2_P_SoC",
)  # fmt: skip
EPYC_OLD = hwmon(
    6, "amd_energy",
    **{f"energy{n + 1}_input": "7000000000" for n in range(9)},
    **{f"energy{n + 1}_label": f"Ecore{n:03}" for n in range(8)},
    energy9_label="Esocket0",
)  # fmt: skip
JETSON = hwmon(
    1, "ina3221", in1_label="VDD_IN", in1_input="19120", curr1_input="392", in2_label="VDD_CPU_GPU_CV",
    in2_input="19120", curr2_input="40",
)  # fmt: skip
SERVER = hwmon(0, "power_meter", power1_average="213000000", power1_is_battery="0")
DISK = hwmon(7, "nvme", temp1_input="38850", temp1_label="Composite")


def battery(status: str = "Discharging", name: str = "BAT0", **files: str) -> dict[str, str]:
    known = {"type": "Battery", "status": status, "present": "1", "power_now": "11372000", "energy_now": "41230000"}
    return {f"{_SUPPLY}/{name}/{file}": f"{text}\n" for file, text in {**known, **files}.items() if text}


def plug(online: str, name: str = "AC", kind: str = "Mains") -> dict[str, str]:
    return {f"{_SUPPLY}/{name}/type": f"{kind}\n", f"{_SUPPLY}/{name}/online": f"{online}\n"}


MOUSE = {
    f"{_SUPPLY}/hidpp_battery_0/type": "Battery\n",
    f"{_SUPPLY}/hidpp_battery_0/scope": "Device\n",
    f"{_SUPPLY}/hidpp_battery_0/status": "Discharging\n",
    f"{_SUPPLY}/hidpp_battery_0/power_now": "90000\n",
}
AWAY = battery() | plug("0")
DOCKED = battery("Charging") | plug("0") | plug("1", "ucsi-source-psy-USBC000:001", "USB")
FULL = battery("Full") | plug("1")
BY_CHARGE = battery(power_now="", current_now="-982000", voltage_now="11580000") | plug("0")  # µA, µV


def throttling(core: int = 4, package: int = 9, ms: int = 1200) -> dict[str, str]:
    """An Intel package of two cores that has slowed itself down; the package counter shows under each of its cpus."""
    files = {"sys/devices/system/cpu/online": "0-1\n"}
    for n in range(2):
        base = f"sys/devices/system/cpu/cpu{n}"
        files[f"{base}/topology/physical_package_id"] = "0\n"
        files[f"{base}/thermal_throttle/core_throttle_count"] = f"{core if n else 0}\n"
        files[f"{base}/thermal_throttle/core_throttle_total_time_ms"] = f"{ms // 2 if n else 0}\n"
        files[f"{base}/thermal_throttle/package_throttle_count"] = f"{package}\n"
        files[f"{base}/thermal_throttle/package_throttle_total_time_ms"] = f"{ms}\n"
    zone = "sys/class/thermal/thermal_zone"
    return files | {
        f"{zone}0/type": "acpitz\n",
        f"{zone}0/temp": "27800\n",  # the board, and on many machines a constant
        f"{zone}9/type": "x86_pkg_temp\n",
        f"{zone}9/temp": "93000\n",
    }


def pressure(kind: str, avg10: str = "0.00", total_us: int = 0) -> dict[str, str]:
    tail = f"avg60=0.00 avg300=0.00 total={total_us}\n"
    return {f"proc/pressure/{kind}": f"some avg10={avg10} {tail}full avg10=0.00 {tail}"}


def settings(driver: str, governor: str, preference: str = "", profile: str = "", no_turbo: str = "") -> dict[str, str]:
    base = "sys/devices/system/cpu"
    files = {
        f"{base}/cpu0/cpufreq/scaling_driver": driver,
        f"{base}/cpu0/cpufreq/scaling_governor": governor,
        f"{base}/cpu0/cpufreq/energy_performance_preference": preference,
        "sys/firmware/acpi/platform_profile": profile,
        f"{base}/intel_pstate/no_turbo": no_turbo,
    }
    return {name: f"{text}\n" for name, text in files.items() if text}
