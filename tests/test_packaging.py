"""What is installed from a wheel works anywhere; `make` sets up once, and again after it was cut off."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from phibench import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built offline by the real build backend."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone, installed into an empty folder; its dependencies come from this environment."""
    target = tmp_path_factory.mktemp("site")
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, timeout=120)
    return target


def phibench(installed: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "phibench", *arguments],
        cwd=where, env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install phibench` brings without extras, and nothing else: no engine, no dashboard."""
    target = tmp_path_factory.mktemp("bare")
    wanted, seen = ["phibench"], set()
    while wanted:
        name = re.split(r"[^A-Za-z0-9._-]", wanted.pop())[0]
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        found = metadata.distribution(name)
        wanted += [line for line in found.requires or [] if "extra ==" not in line and _applies(line)]
        for top in {Path(file).parts[0] for file in found.files or [] if name != "phibench"} - {"..", "__pycache__"}:
            source, link = Path(str(found.locate_file(top))), target / top
            if source.exists() and not link.exists():
                link.symlink_to(source)
    return target


def _applies(line: str) -> bool:
    marker = Requirement(line).marker
    return marker is None or marker.evaluate()


def test_without_any_engine_advice_goes_on_and_says_what_to_install(
    dist: Path, installed: Path, bare: Path, tmp_path: Path
) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-P", "-m", "phibench", *arguments], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{bare}", "PHIBENCH_CACHE": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    (wheel,) = dist.glob("*.whl")  # is where it came from, so that is asked for the rest
    lines = [f'pip install "{wheel}[{extra}]"' for extra in ("llama-cpp", "onnxruntime", "torch")]
    probed = call("probe", "--quick", "-o", "json")
    assert probed.returncode == 0, probed.stderr
    engines = json.loads(probed.stdout)["backends"]
    assert [engine.get("version") for engine in engines] == [None] * 3
    for engine, line in zip(engines, lines, strict=True):
        assert engine["install"].endswith(line)
    none = call("run", "quick", "-b", "all")
    assert none.returncode == 2
    assert all(line in none.stderr for line in lines)
    lone = call("run", "quick", "-b", "torch")
    assert (lone.returncode, lines[2] in lone.stderr) == (2, True)
    first = call("quickstart")
    assert first.returncode == 1
    assert "What should fit for the goal 'chat'" in first.stdout
    assert first.stderr.index(lines[1]) < first.stderr.index(lines[0])  # what needs no compiler comes first

    machine = tmp_path / "machine.toml"
    shutil.copy(ROOT / "docs" / "machines" / "laptop.toml", machine)
    told = call("recommend", "--machine", str(machine), "--top", "all", "-o", "json")
    assert told.returncode == 0, told.stderr
    candidates = json.loads(told.stdout)["candidates"]
    for backend in ("llama_cpp", "onnxruntime", "torch"):
        mine = [c for c in candidates if c["backend"] == backend and c["variant"] == "phi-4-mini-instruct"]
        assert any(c["estimates"]["decode_tps"] for c in mine), backend
        assert any(c["estimates"]["host_needed_bytes"] for c in mine), backend


def test_the_wheel_carries_data_beside_the_code(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.name == f"phibench-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for needed in (
        "phibench/py.typed",
        "phibench/__main__.py",
        "phibench/catalog/quantizations/gguf.toml",
        "phibench/catalog/plans/gguf_types.json",
        "phibench/catalog/variants/phi-4-mini-instruct.toml",
        "phibench/catalog/goals/chat.toml",
        "phibench/_data/suites/quick.toml",
        "phibench/_data/suites/latency.toml",
        "phibench/_data/dashboard/app.py",
    ):
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"phibench", f"phibench-{__version__}.dist-info"}  # no top-level `dashboard` or `tests`
    assert not [name for name in names if "__pycache__" in name or name.endswith(".part")]


@pytest.mark.parametrize("folder", ["suites", "dashboard"])
def test_every_data_file_of_the_checkout_is_in_the_wheel(installed: Path, folder: str) -> None:
    here = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.suffix in {".toml", ".py"}}
    there = installed / "phibench" / "_data" / folder
    assert here <= {p.relative_to(there) for p in there.rglob("*")}


def test_the_metadata_tells_what_a_user_must_know(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    meta = email.message_from_bytes((info / "METADATA").read_bytes())
    assert meta["Version"] == __version__
    assert meta["Requires-Python"] == ">=3.11"
    assert meta["License-Expression"] == "MIT"
    assert (info / "licenses" / "LICENSE").is_file()
    extras = {"llama-cpp", "onnxruntime", "torch", "dashboard", "test", "dev", "docs"}
    assert set(meta.get_all("Provides-Extra", [])) == extras
    assert {url.split(",")[0] for url in meta.get_all("Project-URL", [])} >= {"Homepage", "Documentation", "Issues"}
    assert "phibench = phibench.cli:main" in (info / "entry_points.txt").read_text()


def test_every_extra_of_an_engine_or_a_page_is_used() -> None:
    """An extra that nothing imports would be downloaded for nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = [
        path.read_text(encoding="utf-8") for name in ("phibench", "dashboard") for path in (ROOT / name).rglob("*.py")
    ]
    text = "\n".join(code)
    modules = {"llama-cpp-python": "llama_cpp"}
    for extra in ("llama-cpp", "onnxruntime", "torch", "dashboard"):
        for requirement in map(Requirement, extras[extra]):
            module = modules.get(requirement.name, requirement.name.replace("-", "_"))
            assert re.search(rf"\b{module}\b", text), f"{extra}: {requirement.name}"
            assert re.search(rf"^\s*(import|from) {module}\b", text, re.MULTILINE), f"{extra}: {requirement.name}"


def test_the_source_archive_can_be_tested(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    wanted = {"Makefile", "constraints.txt", "scripts/preflight.py", "tests/test_packaging.py", "suites/quick.toml",
              "mkdocs.yml", ".github/workflows/release.yml", "CITATION.cff", "SECURITY.md", "RELEASING.md"}  # fmt: skip
    assert wanted | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith((".venv", "shared", "results/")) and "example" not in name]


def test_an_installed_phibench_works_from_any_folder(installed: Path, tmp_path: Path) -> None:
    done = phibench(installed, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "recommend" in done.stdout
    done = phibench(installed, tmp_path, "models", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert '"phi-4-mini-instruct"' in done.stdout
    assert not list(tmp_path.iterdir())


def test_an_installed_phibench_finds_its_suites(installed: Path, tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    done = phibench(installed, tmp_path, "run", "quick", "-b", "null", "-r", "1", "--results", results, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_constraints_pin_every_requirement_by_version_alone() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {}
    for line in lines:
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
        assert found, line
        pins[normal(found[1])] = found[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed_by_make = ("llama-cpp", "onnxruntime", "torch", "dashboard", "test", "dev", "docs")
    wanted = project["dependencies"] + [r for x in installed_by_make for r in project["optional-dependencies"][x]]
    names = {normal(re.split(r"[<>=\[; ]", requirement)[0]) for requirement in wanted} - {"phibench"}
    assert names <= set(pins)
    assert pins["torch"] == "2.13.0"


def test_tools_have_one_version_everywhere() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    hooks = re.findall(r'"(ruff==[^"]+)"', (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert hooks
    assert set(hooks) <= set(pins)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited
    assert cited[1] == __version__


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ------------------------------------------------------------------------------------------------ make

STAND_IN = """#!/bin/sh
# Instead of Python: makes a .venv without downloads, and notes what was asked of it.
case "$*" in
*"preflight.py repair"*) cat repair 2>/dev/null ;;
*"preflight.py run"*) test ! -e no-compiler ;;
*preflight*) ;;
"-m venv"*)
    rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp phibench .venv/bin/phibench; echo venv >>log ;;
"-m pip"*) echo pip >>log; test ! -e cut-off ;;
*build_engine*) echo engine >>log; test ! -e cut-off-engine ;;
esac
"""
PHIBENCH = """#!/bin/sh
echo "$*" >>log
exit $(cat exit-code)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if not shutil.which("make"):
        pytest.skip("no make here")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1e9, 1e9))
    for name, text in (("python", STAND_IN), ("phibench", PHIBENCH)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "exit-code").write_text("0")
    return tmp_path


def make(checkout: Path, *words: str) -> tuple[int, list[str]]:
    """Exit code of `make setup` or another target, and what it did: "venv", "pip", "engine", phibench's arguments."""
    log = checkout / "log"
    log.write_text("")
    command = ["make", *(words or ("setup",)), f"PYTHON={checkout / 'python'}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, timeout=60, check=False)
    return done.returncode, log.read_text().splitlines()


CORE, ENGINE = ["venv", "pip"], ["engine", "pip"]
BEFORE, AFTER = "quickstart --before", "quickstart --after"


def test_setup_is_done_once(checkout: Path) -> None:
    assert make(checkout) == (0, [*CORE, *ENGINE])
    assert make(checkout) == (0, [])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_follows_what_it_depends_on(checkout: Path, name: str) -> None:
    make(checkout)
    os.utime(checkout / name, (4e9, 4e9))
    assert make(checkout) == (0, ["pip", *ENGINE])


@pytest.mark.parametrize(("how", "begun"), [("cut-off", CORE), ("cut-off-engine", [*CORE, "engine"])])
def test_a_setup_that_was_cut_off_is_never_believed_complete(checkout: Path, how: str, begun: list[str]) -> None:
    (checkout / how).touch()
    code, did = make(checkout)
    assert (code != 0, did) == (True, begun)
    (checkout / how).unlink()
    assert make(checkout) == (0, [*CORE, *ENGINE])
    assert make(checkout) == (0, [])


def test_a_setup_for_tests_that_was_cut_off_is_not_believed_by_run(checkout: Path) -> None:
    make(checkout)
    (checkout / "cut-off").touch()
    assert make(checkout, ".venv/test") == (2, ["pip"])
    (checkout / "cut-off").unlink()
    assert make(checkout, "run") == (0, [*CORE, BEFORE, *ENGINE, AFTER])


def test_a_venv_made_by_hand_is_kept(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(checkout / "python", checkout / ".venv" / "bin" / "python")
    assert make(checkout) == (0, ["pip", *ENGINE])


def test_the_first_advice_comes_before_the_engine_and_only_then(checkout: Path) -> None:
    assert make(checkout, "run") == (0, [*CORE, BEFORE, *ENGINE, AFTER])
    assert make(checkout, "run") == (0, ["quickstart"])


@pytest.mark.parametrize(
    ("target", "did"), [("run", [BEFORE, *ENGINE, AFTER]), ("setup", ENGINE), ("dashboard", [*ENGINE, "dashboard"])]
)
def test_an_engine_that_this_machine_would_crash_is_compiled_again(checkout: Path, target: str, did: list[str]) -> None:
    make(checkout)
    (checkout / "repair").write_text("repair\n")
    assert make(checkout, target) == (0, did)
    (checkout / "repair").write_text("\n")
    assert make(checkout, "setup") == (0, [])


def test_the_site_of_the_documents_needs_no_engine(checkout: Path) -> None:
    assert make(checkout, "docs") == (0, [*CORE, "pip"])
    assert make(checkout, "docs") == (0, [])


def test_whoever_only_sets_up_is_not_advised(checkout: Path) -> None:
    assert make(checkout, "setup") == (0, [*CORE, *ENGINE])
    assert make(checkout, "run") == (0, ["quickstart"])


def test_without_a_compiler_the_first_advice_comes_all_the_same(checkout: Path) -> None:
    (checkout / "no-compiler").touch()
    assert make(checkout, "run") == (2, [*CORE, BEFORE])
    (checkout / "no-compiler").unlink()
    assert make(checkout, "run") == (0, [BEFORE, *ENGINE, AFTER])  # nothing is set up twice


@pytest.mark.parametrize(("code", "told"), [(3, 0), (1, 2)])
def test_nothing_fits_is_an_answer_and_a_failed_measurement_is_not(checkout: Path, code: int, told: int) -> None:
    make(checkout, "setup")
    (checkout / "exit-code").write_text(str(code))
    assert make(checkout, "run") == (told, ["quickstart"])


def test_a_dry_run_of_make_does_nothing(checkout: Path) -> None:
    assert make(checkout, "-n", "run") == (0, [])
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_one_line(checkout: Path) -> None:
    done = subprocess.run(
        ["make", "-s", "setup", "PYTHON=python-of-tomorrow"],
        cwd=checkout, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no python-of-tomorrow here; install Python 3.11 or newer" in done.stderr
