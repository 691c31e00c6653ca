"""The documents stay true: their commands parse and run, and nothing a user can meet is missing from the README."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Phibench

from phibench import backends, catalog
from phibench.cli import cli
from phibench.core import errors, files
from phibench.core.nouns import Machine
from phibench.measure import suites

pytestmark = pytest.mark.usefixtures("probed")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def shell_lines(text: str) -> Iterator[str]:
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield from (line for line in block.splitlines() if line.strip())


def commands() -> list[list[str]]:
    """The words after ``phibench`` of every command in the README's shell blocks."""
    lines = (shlex.split(line, comments=True) for line in shell_lines(README))
    return [words[1:] for words in lines if words and words[0] == "phibench"]


def parse(words: list[str]) -> tuple[str, dict[str, object]]:
    name, command, rest = cli.resolve_command(cli.make_context("phibench", [*words]), words)
    assert name is not None
    assert command is not None
    return name, command.make_context(name, list(rest)).params


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_of_the_readme_parses(words: list[str]) -> None:
    parse(words)


CHEAP = ("models", "results", "recommend", "cache")


@pytest.mark.parametrize("words", [w for w in commands() if w[0] in CHEAP], ids=" ".join)
def test_every_command_that_only_reads_runs(
    words: list[str], phibench: Phibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if "--settle" in words:  # in a time in which nothing is measured
        words = [*words[: words.index("--settle")], "--settle=0.1s"]
    done = phibench(*words)
    assert done.code in ((0, errors.NOTHING_FITS, errors.TOO_BUSY) if words[0] == "recommend" else (0,)), done.err


MEASUREMENTS = [w for w in commands() if w[0] == "run" and ".gguf" not in str(w)]


@pytest.mark.parametrize("words", [w for w in MEASUREMENTS if "all" not in w], ids=" ".join)
def test_every_measurement_of_the_readme_runs_without_a_model(words: list[str], phibench: Phibench) -> None:
    suite = suites.load(words[1])
    short = ("--seconds", "0.2") if suite.window_s else ()
    done = phibench(*words, *short, "-b", "null", "-o", "json")
    rows = [] if "--dry-run" in words else json.loads(done.out)
    assert all(row["status"] == "ok" or row["reason"].startswith("unavailable: ") for row in rows)
    assert done.code == (1 if rows and all(row["status"] == "failed" for row in rows) else 0), done.err


@pytest.mark.parametrize("words", [w for w in MEASUREMENTS if "all" in w], ids=" ".join)
def test_every_measurement_with_all_engines_is_planned_for_those_that_are_here(
    words: list[str], phibench: Phibench
) -> None:
    engines = {name for name in backends.names() if (b := backends.load(name)).RECOMMENDABLE and b.installed()}
    if not engines:
        pytest.skip("no engine is installed")
    done = phibench(*words, "--dry-run", "-o", "json")
    assert done.code == 0, done.err
    assert {row["setup"].split("@")[1].split("/")[0] for row in json.loads(done.out)} == engines


def test_the_first_screen_of_the_readme_is_what_is_printed(phibench: Phibench, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = re.search(r"```text\n\$ phibench (.+)\n([^`]+)```", README)
    assert sample
    monkeypatch.setenv("COLUMNS", "100")
    assert phibench(*shlex.split(sample[1])).out == sample[2]


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in commands()} | set(re.findall(r"`phibench ([a-z]+)", README))
    assert shown == set(cli.commands)


def test_the_readme_names_every_goal() -> None:
    for goal in catalog.goals():
        assert f"`{goal.id}`" in README


def test_the_readme_names_every_exit_code_and_no_other() -> None:
    table = README.split("| exit code | means |")[1].split("\n\n")[0]
    known = {errors.FAILED, errors.BAD_INPUT, errors.NOTHING_FITS, errors.REGRESSION, errors.TOO_BUSY}
    known |= {errors.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == {0} | known


def variables(*folders: str) -> set[str]:
    code = [p.read_text(encoding="utf-8") for folder in folders for p in (ROOT / folder).rglob("*.py")]
    return set(re.findall(r"PHIBENCH_[A-Z_]+\b", "\n".join(code)))


def test_every_variable_that_the_code_reads_is_documented() -> None:
    for name in {*variables("phibench", "dashboard"), "XDG_CACHE_HOME", "NO_COLOR"}:
        assert f"`{name}`" in README
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in variables("tests"):
        assert name in README + contributing


def test_the_readme_names_every_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.split("[project.optional-dependencies]\n")[1].split("\n\n")[0]
    for name in re.findall(r"^([a-z-]+) = \[", extras, flags=re.MULTILINE):
        assert f"`{name}`" in README


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    targets |= {f"proof-{path.stem}" for path in (ROOT / "benchmarks" / "proofs").iterdir()}
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z]+(?:-[a-z]+)*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(named) <= targets, page


def test_versions_that_a_user_types_are_those_that_make_installs() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for text in (README, (ROOT / "docs" / "install.md").read_text(encoding="utf-8")):
        for pin in re.findall(r"[\w-]+==[\w.]+", text):
            assert pin in pins


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_brackets_are_quoted_for_every_shell(page: Path) -> None:
    """Bare ones are a pattern in zsh, and single quotes are letters in cmd."""
    for line in re.findall(r"^.*(?:pip|pipx|uvx?) .*\[[a-z,-]+\].*$", page.read_text(encoding="utf-8"), re.MULTILINE):
        for before, after in re.findall(r"(\S*)\[(?:llama-cpp|onnxruntime|torch|dashboard)[a-z,-]*\](\S?)", line):
            assert before.lstrip("`(").startswith('"'), line
            assert after == '"', line


def test_every_extra_that_a_page_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for page in PAGES:
        for names in re.findall(r'[."a-z]\[([a-z,-]+)\]"', page.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= set(extras), page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_index_lists_every_page_of_docs() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_every_page_that_the_code_names_exists() -> None:
    for folder in ("phibench", "dashboard", "benchmarks", "suites"):
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.toml")]:
            for page in re.findall(r"\bdocs/[\w-]+\.md(?! of ggml)", path.read_text(encoding="utf-8")):
                assert (ROOT / page).is_file(), f"{path.relative_to(ROOT)} names {page}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_page_names_a_folder_of_somebodys_machine(page: Path) -> None:
    absolute = set(re.findall(r"(?<![\w.:/~>*-])/[a-z]+(?=/)", page.read_text(encoding="utf-8")))
    assert absolute <= {"/dev", "/etc", "/proc", "/sys", "/usr"}


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "machines").glob("*.toml")), ids=lambda p: p.name)
def test_described_machines_can_be_read(path: Path) -> None:
    assert files.read_strict(path, Machine).devices
