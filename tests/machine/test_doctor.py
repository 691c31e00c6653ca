"""The machine card and what the doctor finds: every rule has a machine that it speaks of and one that it passes."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Phibench
from fakes import GIB, machine
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from phibench import probe
from phibench.core import files, units
from phibench.core.errors import PhibenchError
from phibench.core.nouns import (
    Cache,
    Conditions,
    Device,
    Held,
    Installed,
    Limits,
    Machine,
    Problem,
    Processor,
    SelfTest,
    Source,
    Storage,
)
from phibench.machine import doctor
from phibench.probe.speed.memory import Bandwidth
from phibench.show import doctor as show_doctor
from phibench.show import machine as show_machine
from phibench.verify import selftest

LLAMA = Installed(backend="llama_cpp", package="llama-cpp-python", version="0.3.36", devices=("cpu",),
                  features=("AVX2", "AVX512", "AVX512_VNNI"))  # fmt: skip
HEALTHY = msgspec.structs.replace(
    machine(),
    processor=Processor(
        instruction_sets=("avx2", "avx512f", "avx512_vnni"), governor="performance", turbo=True, numa_nodes=1
    ),
    storage=Storage(free_bytes=100 * GIB, read_bytes_s=2e9, because="past the page cache"),
    power="mains",
    energy=(Source(name="package-0", scope="cpu_package", method="counter", readable=True),),
    backends=(LLAMA,),
)
GPU = Device(kind="cuda:0", name="RTX 4090", memory_bytes=24 * GIB)


def sick(**changes: Any) -> Machine:
    return msgspec.structs.replace(HEALTHY, **changes)


def processor(**changes: Any) -> Machine:
    assert HEALTHY.processor
    return sick(processor=msgspec.structs.replace(HEALTHY.processor, **changes))


def with_device(**changes: Any) -> Machine:
    return sick(devices=(*HEALTHY.devices, msgspec.structs.replace(GPU, **changes)))


def slow_memory(doubt: str = "", **changes: Any) -> Machine:
    cpu = msgspec.structs.replace(HEALTHY.devices[0], read_bytes_s=18e9, basis="probed", doubt=doubt)
    return sick(devices=(cpu,), physical_cores=8, logical_cores=16, **changes)


def engine(**changes: Any) -> Machine:
    return sick(backends=(msgspec.structs.replace(LLAMA, **changes),))


NARROW = Limits(
    cpus=1.0, threads=1, memory_bytes=4 * GIB, free_bytes=3 * GIB, restrictions=("cgroup limits cpus to 1",),
    notes=("cgroup limits cpus to 1", "threads count the 1 performance cores of 2 cores"),
)  # fmt: skip
NONE = Bandwidth(read_bytes_s=None, because="not measured: too little memory")
DEAD = SelfTest(
    backend="llama_cpp", device="cpu", build="1", processor="x", usable=False, kind="signal",
    reason="llama_cpp 1 died of SIGSEGV",
)  # fmt: skip
HEALED = msgspec.structs.replace(DEAD, usable=True, options={"repack": "off"})
NOW = Conditions()
CASES: list[tuple[Machine, Conditions, str, str, str]] = [
    (processor(energy_preference="power"), NOW, "slow", "power saver on", "'power'"),
    (processor(platform_profile="low-power"), NOW, "slow", "power saver on", "low-power"),
    (processor(governor="powersave"), NOW, "slow", "power saver on", "cpupower"),
    (processor(turbo=False), NOW, "slow", "turbo is off", "boost"),
    (sick(power="battery"), NOW, "slow", "running on battery", "plug it in"),
    (slow_memory(), NOW, "slow", "single channel", "18 GB/s"),
    (slow_memory(doubt="too low: busy"), NOW, "slow", "single channel", "--anew"),
    (engine(features=("AVX2",)), NOW, "slow", "built without AVX-512, AVX-512 VNNI", "--no-binary"),
    (sick(limits=NARROW), NOW, "note", "may not use all of the machine", "cgroup limits cpus to 1"),
    (HEALTHY, Conditions(throttled_periods=7), "slow", "quota has stopped", "nr_throttled 7"),
    (with_device(), NOW, "wrong", "no engine here can use RTX 4090", "GGML_CUDA"),
    (with_device(kind="rocm:0"), NOW, "wrong", "no engine here can use", "GGML_HIP"),
    (with_device(kind="metal"), NOW, "wrong", "no engine here can use", "GGML_METAL"),
    (with_device(facts={"throttle": "power cap"}), NOW, "slow", "below its clock", "power cap"),
    (with_device(problems=(Problem(kind="divided", evidence="one slice", remedy="see"),)), NOW,
     "note", "is divided", "one slice"),
    (HEALTHY, Conditions(gpu_processes=2), "slow", "other programs compute", "2 processes"),
    (with_device(kind="npu", name="Intel NPU",
                 problems=(Problem(kind="unusable", evidence="no driver", remedy="do this"),)), NOW,
     "wrong", "Intel NPU cannot be used", "do this"),
    (sick(backends=(Installed(backend="llama_cpp", package="llama-cpp-python", install="pip install it"),)), NOW,
     "wrong", "no engine is installed", "pip install it"),
    (engine(problems=(Problem(kind="installed_twice", evidence="a and b", remedy="pip uninstall -y a b"),)), NOW,
     "wrong", "installed more than once", "pip uninstall"),
    (sick(selftests=(DEAD,)), NOW, "wrong", "llama_cpp is not usable here", "died of SIGSEGV"),
    (sick(selftests=(HEALED,)), NOW, "slow", "fails here with its usual options", "repack=off is used instead"),
    (engine(problems=(Problem(kind="broken", evidence="it cannot be imported (exit 1)", remedy="again"),)), NOW,
     "wrong", "does not start", "exit 1"),
    (processor(emulated="x86_64 Python on an arm64 processor"), NOW, "wrong", "emulator", "arm64"),
    (processor(hypervisor="KVM"), NOW, "note", "virtual machine", "KVM"),
    (processor(hypervisor="WSL2"), NOW, "note", "virtual machine", ".wslconfig"),
    (sick(limits=msgspec.structs.replace(HEALTHY.limits, free_bytes=GIB)), NOW, "wrong", "too little free", "1 GiB"),
    (sick(limits=msgspec.structs.replace(HEALTHY.limits, held=(Held(kind="huge_pages", bytes=9 * GIB),))), NOW,
     "note", "set aside for huge pages", "9 GiB"),
    (HEALTHY, Conditions(look_swapped_in_bytes=4096), "slow", "is swapping", "4096"),
    (sick(storage=Storage(free_bytes=100 * GIB, read_bytes_s=9e7)), NOW, "slow", "slow disk", "PHIBENCH_CACHE"),
    (sick(storage=Storage(free_bytes=GIB, read_bytes_s=9e9)), NOW, "note", "nearly full", "1 GiB"),
    (HEALTHY, Conditions(busy_share=0.4), "slow", "other programs are busy", "40%"),
    (HEALTHY, Conditions(look_steal_share=0.1), "slow", "gives cpu time to others", "10%"),
    (HEALTHY, Conditions(thermal_throttles=12), "note", "because of heat", "12 times"),
    (processor(huge_pages="never"), NOW, "slow", "huge pages are off", "madvise"),
    (processor(numa_nodes=2), NOW, "note", "several NUMA nodes", "numactl"),
    (processor(performance_cores=4, efficiency_cores=8), NOW, "note", "two kinds of cores", "8 efficiency"),
    (sick(energy=(Source(name="psys", scope="system_dc", method="counter", readable=False,
                         because="no access to /sys/x: sudo chmod o+r /sys/x", grant="sudo chmod o+r /sys/x"),)), NOW,
     "note", "energy of psys", "chmod"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "now", "severity", "title", "says"), CASES, ids=[case[3] for case in CASES])
def test_a_rule_speaks(place: Machine, now: Conditions, severity: str, title: str, says: str) -> None:
    found = [f for f in doctor.findings(place, now) if title in f.title]
    assert len(found) == 1, doctor.findings(place, now)
    assert found[0].severity == severity
    assert says in f"{found[0].title} {found[0].evidence} {found[0].remedy}"
    assert found[0].evidence


def test_without_any_engine_the_one_that_needs_no_compiler_is_named() -> None:
    none = [
        Installed(backend=name, package=name, install=f"get {name}") for name in ("llama_cpp", "onnxruntime", "own")
    ]
    (found,) = doctor.findings(sick(backends=tuple(none)), NOW)
    assert (found.title, found.remedy) == ("no engine is installed", "get onnxruntime")


def test_every_rule_has_a_case() -> None:
    silent = [rule for rule in doctor.RULES if not any([*rule(place, now)] for place, now, *_ in CASES)]
    assert silent == []


def test_a_healthy_machine_has_no_finding() -> None:
    assert doctor.findings(HEALTHY, Conditions(busy_share=0.01, throttled_periods=0)) == ()
    text = show_doctor.report(HEALTHY, NOW, {"python": "CPython 3.13"})
    assert "Nothing wrong found." in text
    assert "not checked: read bandwidth of memory." in text  # the one thing that nobody has measured


@pytest.mark.parametrize(
    "place",
    [
        sick(devices=(*HEALTHY.devices, GPU), backends=(msgspec.structs.replace(LLAMA, devices=("cpu", "cuda:0")),)),
        sick(devices=(*HEALTHY.devices, GPU), backends=(msgspec.structs.replace(LLAMA, devices=("cpu", "vulkan:0")),)),
        slow_memory(arch="arm64"),  # a small board has one channel, and that is how it is
        engine(features=()),  # nobody knows what it was built with
        machine(),  # nothing was probed
    ],
)
def test_a_rule_is_silent_without_evidence(place: Machine) -> None:
    assert doctor.findings(place, NOW) == ()


OFF = Source(name="psys", scope="system_dc", method="counter", readable=False, because="needs a real machine")


@pytest.mark.parametrize(
    "place",
    [
        sick(energy=(OFF,)),  # no line would grant it
        sick(limits=msgspec.structs.replace(HEALTHY.limits, notes=("threads count the 4 performance cores",))),
        engine(notes=("broken: not so", "2 packages overwrite each other (a, b): not so")),
        with_device(kind="npu", notes=("in sysfs but not usable: not so; nothing to do", "MIG is not on")),
    ],
)
def test_no_words_make_a_finding(place: Machine) -> None:
    assert doctor.findings(place, NOW) == ()


def test_the_worst_comes_first() -> None:
    place = msgspec.structs.replace(processor(emulated="x", hypervisor="KVM", turbo=False), power="battery")
    order = [f.severity for f in doctor.findings(place, NOW)]
    assert order == sorted(order, key=("wrong", "slow", "note").index)
    assert len(set(order)) == 3


def test_a_counter_below_zero_is_no_evidence() -> None:
    odd = Conditions(thermal_throttles=-5, gpu_processes=-1, look_swapped_in_bytes=-1, throttled_periods=-1)
    assert doctor.findings(HEALTHY, odd) == ()


# ----------------------------------------------------------------------------------------------------- card


def test_measured_and_data_sheet_stand_apart() -> None:
    gpu = msgspec.structs.replace(
        GPU, read_bytes_s=920e9, basis="probed", spec_read_bytes_s=1008e9, flops_s=165e12,
        matrix_flops_s={"bfloat16": 150e12},
    )  # fmt: skip
    text = show_machine.text(sick(devices=(*HEALTHY.devices, gpu)), 120)
    assert f"read 920 GB/s, bfloat16 150 TFLOP/s | read {units.gb(1008e9)}/s, 165 TFLOP/s" in text
    assert "not measured | not known" in text  # the processor


def test_what_is_not_known_is_not_there() -> None:
    text = show_machine.text(machine(), 80)
    for absent in ("None", "governor", "caches", "nan", " 0 GiB"):
        assert absent not in text
    assert "no GPU or no driver for one" in text


def test_the_card_fits() -> None:
    place = processor(
        caches=(Cache(level=1, kind="data", bytes=32 << 10, count=8), Cache(level=3, bytes=32 << 20)),
        instruction_sets=("avx512_vnni",) * 20,
    )
    for width in (60, 80, 120):
        assert max(map(len, show_machine.text(place, width).splitlines())) <= width
    assert "L1d 8 x 32 KiB, L3 32 MiB" in show_machine.text(place, 120)


def test_text_from_drivers_cannot_draw() -> None:
    place = with_device(name="RTX\x1b[31m\u202e", notes=("a\nb",))
    assert "\x1b" not in show_machine.text(place, 80)
    assert "\u202e" not in show_doctor.report(place, NOW, {})


def test_card_of_a_described_machine() -> None:
    laptop = Machine(
        name="Laptop", os="linux", arch="x86_64", physical_cores=8, logical_cores=16, memory_bytes=32 * GIB,
        devices=(
            Device(kind="cpu", name="Ryzen 7", memory_bytes=16 * GIB, read_bytes_s=41.2e9, basis="probed",
                   because="threaded np.dot; 3 s", doubt="too low: its threads had a core only 41% of the time"),
            Device(kind="cuda:0", name="RTX 4060"),
        ),
        limits=Limits(cpus=1.5, threads=2, memory_bytes=16 * GIB, free_bytes=10 * GIB,
                      notes=("cgroup limits cpus to 1.5",)),
    )  # fmt: skip
    lines = show_machine.short(laptop)
    text = dict(lines)
    assert text["CPU"] == "Ryzen 7"
    assert text["Usable cpus"].startswith("1.5 of 16")
    assert text["Memory"] == "16 GiB usable of 32 GiB"
    assert text["Free now"] == "10 GiB"
    assert text["Read bandwidth"] == "41.2 GB/s (measured)"
    assert [value for label, value in lines if label == "Note"] == [
        "read bandwidth is too low: its threads had a core only 41% of the time",
        "cgroup limits cpus to 1.5",
    ]
    assert ("Device cuda:0", "RTX 4060") in lines


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("flags", "features", "says"),
    [
        (("avx2", "avx512f", "amx_int8", "amx_bf16"), ("SSE3", "AVX2"),
         "compiled for AVX2; the processor has AVX2, AVX-512, AMX int8, AMX bf16; left unused: AVX-512, AMX int8"),
        (("avx2", "f16c"), ("AVX2", "F16C"), "compiled for AVX2; the processor has AVX2; left unused: nothing"),
        (("asimd", "asimddp", "i8mm", "sme"), ("NEON", "DOTPROD", "MATMUL_INT8"),
         "compiled for NEON dotprod, i8mm; the processor has NEON dotprod, i8mm, SME; left unused: nothing"),
        (("avx2",), ("SSE3",), "compiled for none of them; the processor has AVX2; left unused: AVX2"),
    ],
)  # fmt: skip
def test_card_says_for_which_processor_llama_cpp_was_compiled(
    flags: tuple[str, ...], features: tuple[str, ...], says: str, width: int
) -> None:
    place = msgspec.structs.replace(engine(features=features), processor=Processor(instruction_sets=flags))
    text = show_machine.text(place, width)
    assert max(map(len, text.splitlines())) <= width
    assert says in " ".join(text.split())
    left = says.rpartition("left unused: ")[2]
    titles = [f.title for f in doctor.findings(place, NOW) if "built without" in f.title]
    assert titles == ([] if left == "nothing" else [f"llama.cpp was built without {left}"])  # one table for both


def test_card_does_not_guess_for_which_processor_llama_cpp_was_compiled() -> None:
    for place in (engine(features=()), msgspec.structs.replace(HEALTHY, processor=None)):
        assert "compiled for" not in show_machine.text(place, 120)


def test_card_says_why_there_is_no_bandwidth() -> None:
    quick = probe.machine(bandwidth_s=None)
    assert ("Read bandwidth", "not measured") in show_machine.short(quick)
    assert ("Read bandwidth", NONE.because) in show_machine.short(probe.with_bandwidth(quick, NONE))


# --------------------------------------------------------------------------------------------- the report

PASSED = msgspec.structs.replace(DEAD, usable=True, kind=None, reason="", kl_max=0.00491)


def test_a_report_has_what_a_stranger_must_know() -> None:
    place = sick(
        devices=(*HEALTHY.devices, msgspec.structs.replace(GPU, driver="580.1")),
        selftests=(PASSED, msgspec.structs.replace(HEALED, backend="torch", reason="torch 2 died of SIGILL")),
    )
    text = show_doctor.report(place, Conditions(busy_share=0.5), {"os": "Linux 6", "python": "CPython 3.13"})
    for said in (
        "os            Linux 6", "python        CPython 3.13", "installed by  ", "architecture  x86_64",
        "RTX 4090, 24 GiB, driver 580.1", "threads used: ", "GiB", "llama_cpp         0.3.36 for cpu",
        "llama_cpp  passed, at most 0.0049 nat from the right answer",
        "torch      torch 2 died of SIGILL; with repack=off it is right, so that is used here", "busy_share  0.5",
    ):  # fmt: skip
        assert said in text, text


def rendered(markdown: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


MARKS = st.text(alphabet="`*_[]()<>|#@~$\\!&; \n\t-+=.1aB", min_size=1, max_size=40)


@given(MARKS, MARKS)
@settings(max_examples=60)
def test_no_text_of_a_driver_becomes_markdown(name: str, remedy: str) -> None:
    place = with_device(
        kind="npu", name=name, problems=(Problem(kind="unusable", evidence=f"a {name}", remedy=remedy),), notes=(name,)
    )
    before = rendered(show_doctor.report(HEALTHY, NOW, {"python": "3"}))
    html = rendered(show_doctor.report(place, NOW, {"python": "3"}))
    for tag in ("<h1", "<h2", "<pre", "<a ", "<img", "<del", "<code", "<table", "<ol", "<blockquote", "<hr"):
        assert html.count(tag) == before.count(tag), (tag, html)
    assert html.count("<strong>") == html.count("<ul>") == html.count("<li>") == 1
    sentences = html.split("<ul>")[1].split("</ul>")[0]
    assert not re.search(r"[@#]\w", sentences)  # GitHub would call somebody, or link to an issue
    assert "$" not in sentences.replace("<span>$</span>", "")  # or set a formula


PEOPLE = st.sampled_from(["anna", "Jörg", "li.wei", "o'neil", "user-7", "a+b", "[x]y", "DOMAIN_jo"])
HOMES = st.sampled_from(["/home/{}", "/Users/{}", "C:\\Users\\{}", "c:/Users/{}", "/mnt/c/Users/{}", "/srv/homes/{}"])
HOSTS = st.sampled_from(["annas-laptop", "annas-MacBook.local", "DESKTOP-7A2", "node12.cluster.example.org"])


@given(PEOPLE, HOMES, HOSTS, st.sampled_from(["name", "note", "problem", "selftest", "software", "energy", "disk"]))
def test_a_report_names_no_person_home_or_host(person: str, home: str, host: str, where: str) -> None:
    at = home.format(person)
    said = f"cannot open {at}/phi.gguf on {host} ({host.partition('.')[0]}) for {person}"
    engine = msgspec.structs.replace(LLAMA, notes=(said,))
    places = {
        "name": with_device(name=said), "note": sick(backends=(engine,)),
        "problem": sick(backends=(msgspec.structs.replace(
            engine, problems=(Problem(kind="broken", evidence=said, remedy=said),)),)),
        "selftest": sick(selftests=(msgspec.structs.replace(DEAD, reason=said),)), "software": HEALTHY,
        "energy": sick(energy=(msgspec.structs.replace(OFF, because=said),)),
        "disk": sick(storage=Storage(because=said)),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: host)
        patch.setattr(getpass, "getuser", lambda: person)
        patch.setattr(Path, "home", lambda: Path(at))
        report = show_doctor.report(places[where], NOW, {"os": said if where == "software" else "Linux"})
    flat = " ".join(report.replace("\\", "").split())
    assert "phi.gguf" in flat
    for secret in (person, host, host.partition(".")[0]):
        assert secret not in flat


# ------------------------------------------------------------------------------------------------ the files

values = st.sampled_from([case[0] for case in CASES])


@given(values, st.sampled_from(["machine.toml", "machine.json"]))
def test_what_is_saved_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, place: Machine, name: str) -> None:
    path = tmp_path_factory.mktemp("saved") / name
    files.write_machine(path, place)
    assert files.read_strict(path, Machine) == place


def test_a_name_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhibenchError, match=r"machine\.toml or \.json"):
        files.write_machine(tmp_path / "machine.yaml", HEALTHY)


@pytest.mark.usefixtures("probed")
def test_probe_saves_what_recommend_reads(phibench: Phibench, tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    done = phibench("probe", "--quick", "--save", str(path), "-o", "json")
    assert done.code == 0, done.err
    assert tomllib.loads(path.read_text(encoding="utf-8"))["arch"] == json.loads(done.out)["arch"]
    advised = phibench("recommend", "--machine", str(path), "--top", "1", "-o", "json")
    assert advised.code in (0, 3, 5)
    assert json.loads(advised.out)["machine"]["name"] == json.loads(done.out)["name"]


@pytest.mark.usefixtures("probed")
@pytest.mark.parametrize(
    "words", [("probe", "--quick"), ("probe", "-o", "json"), ("doctor",), ("doctor", "-o", "json")]
)
def test_commands_name_nobody(phibench: Phibench, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if words == ("doctor", "-o", "json"):  # engines are examined for the other form
        monkeypatch.setattr(selftest, "retest", lambda machine, _tell: machine)
    done = phibench(*words)
    assert done.code == 0, done.err
    for secret in (socket.gethostname(), getpass.getuser(), str(Path.home()), os.environ["PHIBENCH_CACHE"]):
        assert secret in {"", "root", "/root"} or secret not in done.out
    assert "/root" not in done.out


@pytest.mark.usefixtures("probed")
def test_probe_refuses_a_name_before_it_measures(phibench: Phibench, tmp_path: Path) -> None:
    done = phibench("probe", "--save", str(tmp_path / "machine.yaml"))
    assert done.code == 2
    assert done.err == "phibench: cannot tell what to write into machine.yaml: call it machine.toml or .json\n"
