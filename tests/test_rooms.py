"""The house: few rooms, each says what it holds; and what lint-imports does not see: circles, pages, texts."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "phibench"
MOST_ROOMS = 20
MOST_FLOORS = 7
HALF_THAT_MEASURES = ("phibench.measure", "phibench.meters", "phibench.synth")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LIVING = [page for page in PAGES if page.name != "CHANGELOG.md"]  # that one tells of files as they were
DASHBOARD = sorted((ROOT / "dashboard").glob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all imports, those in functions and under TYPE_CHECKING too; of ``from a import b`` it is a.b."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path.parent)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def strings(path: Path) -> Iterator[str]:
    """Texts of a file; an f-string ends where a value stands in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def file_of(name: str) -> str | None:
    """The file that a dotted name leads to: its own, or the one that defines it."""
    return name if name in FILES else name.rpartition(".")[0] if name.rpartition(".")[0] in FILES else None


def circles(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def measuring(names: Iterator[str]) -> list[str]:
    return [name for name in names if f"{name}.".startswith(tuple(f"{room}." for room in HALF_THAT_MEASURES))]


def test_the_rooms_are_few_and_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (floors,) = (contract["layers"] for contract in contracts if contract["name"] == "floors")
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {room.strip() for floor in floors for room in floor.split("|")}
    assert len(rooms) <= MOST_ROOMS
    assert len(floors) <= MOST_FLOORS
    assert not {path.parent for path in FILES.values()} - {path.parent for path in PACKAGE.rglob("__init__.py")}


def test_every_room_and_every_file_says_what_it_holds() -> None:
    said = {name: ast.get_docstring(tree(path)) or "" for name, path in FILES.items()}
    assert [name for name, text in said.items() if not text] == []
    rooms = {name: text for name, text in said.items() if name.count(".") == 1 and FILES[name].name == "__init__.py"}
    assert [name for name, text in rooms.items() if not ("In: " in text and "Out: " in text)] == []


def test_no_circle_of_files() -> None:
    graph = {name: {*filter(None, map(file_of, imported(path)))} - {name} for name, path in FILES.items()}
    assert " -> ".join(circles(graph)) == ""
    assert circles(graph | {"phibench.core.errors": {"phibench.cli.app"}})  # the check sees one
    pages = {page.stem: {name.partition(".")[0] for name in imported(page)} for page in DASHBOARD}
    assert circles({name: (found & pages.keys()) - {name} for name, found in pages.items()}) == []


def test_no_file_imports_a_private_name_of_another() -> None:
    private = re.compile(r"\._(?!_)")
    found = [(name, one) for name, path in FILES.items() for one in imported(path) if one.startswith("phibench.")]
    assert [f"{name}: {one}" for name, one in found if private.search(one)] == []


@pytest.mark.parametrize("page", DASHBOARD, ids=lambda page: page.name)
def test_no_page_knows_the_half_that_measures(page: Path) -> None:
    assert measuring(imported(page)) == []
    assert measuring(strings(page)) == []


def test_the_pages_are_seen() -> None:
    assert any(name.startswith("phibench.advise.") for page in DASHBOARD for name in imported(page))  # also lazy ones
    assert measuring(iter(["phibench.measure", "phibench.meters.energy", "phibench.measured"])) == [
        "phibench.measure", "phibench.meters.energy",
    ]  # fmt: skip


# Keys in files of weights and one file's name: they begin like a module and are none.
KEYS = {
    "phibench.json", "phibench.synthetic", "phibench.variant", "phibench.layers", "phibench.of_layers",
    "phibench.padding",
}  # fmt: skip
MODULE = re.compile(r"\bphibench(?:\.[A-Za-z_]\w*)+\.?")


def missing(text: str) -> list[str]:
    """What looks like a module of phibench in a text and is none, nor a definition in one."""
    found = (name.removesuffix(".") for name in MODULE.findall(text))
    return [name for name in found if name not in KEYS and not defined(name)]


def defined(name: str) -> bool:
    file, _, definition = name.rpartition(".")
    if name in FILES or definition == "__file__":
        return True
    return file in FILES and re.search(rf"\b{definition}\b", FILES[file].read_text(encoding="utf-8")) is not None


def test_a_module_named_in_a_text_exists() -> None:
    others = [path for folder in ("tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]
    sources = {*FILES.values(), *DASHBOARD, *others} - {Path(__file__)}
    found = {path: [name for text in strings(path) for name in missing(text)] for path in sources}
    assert {path: names for path, names in found.items() if names} == {}


def test_what_programs_beside_the_package_import_of_it_exists() -> None:
    """An editable install of another checkout would hide it from them."""
    others = [path for folder in ("benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]
    found = {path.name: [name for name in imported(path) if name.startswith("phibench.")] for path in others}
    assert any(found.values())
    assert {name: bad for name, names in found.items() if (bad := [one for one in names if not defined(one)])} == {}


@pytest.mark.parametrize("path", [ROOT / "pyproject.toml", ROOT / "Makefile", *LIVING], ids=lambda path: path.name)
def test_a_module_named_in_a_setting_or_a_document_exists(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_module_that_is_none_is_seen() -> None:
    found = missing("python -m phibench.probe.torch_rates, phibench.core.errors.FAILED")
    assert found == ["phibench.probe.torch_rates"]


PATHS = re.compile(r"\b(?:phibench|dashboard|tests|benchmarks|scripts)/[\w./*-]*\w\.(?:py|toml|json|css|sh)\b")


def test_every_file_that_a_document_or_a_comment_names_exists() -> None:
    """FORMAT in a path stands for any name."""
    comments = [path for name in ("benchmarks", "scripts", "dashboard") for path in (ROOT / name).rglob("*.py")]
    sources = [*LIVING, *FILES.values(), *comments, ROOT / "dashboard" / ".streamlit" / "config.toml"]
    found = [(source, path) for source in sources for path in PATHS.findall(source.read_text(encoding="utf-8"))]
    assert [(source, path) for source, path in found if not [*ROOT.glob(re.sub(r"[A-Z]{3,}", "*", path))]] == []


def test_a_module_of_which_a_document_gives_the_end_alone_exists_too() -> None:
    everything = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("[!.]*/**/*.py")]
    named = [(page, name) for page in LIVING for name in re.findall(r"`([\w./]*\w\.py)`", page.read_text("utf-8"))]
    assert len(named) > 20
    lost = [(page, name) for page, name in named if not any(path.endswith(f"/{name}") for path in everything)]
    assert [(page, name) for page, name in lost if not re.search("[A-Z]{3,}", name)] == []


def test_a_file_that_does_not_exist_is_seen() -> None:
    (path,) = PATHS.findall("docs name `phibench/catalog/plan_FORMAT.py`, and phibench/catalog/")
    assert path == "phibench/catalog/plan_FORMAT.py"
    assert not [*ROOT.glob("phibench/catalog/plan_*.py")]
