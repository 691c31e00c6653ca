"""Tools for whoever wants to run a Phi: every flag is in its published help, every name in braces means something."""

from __future__ import annotations

import ast
import builtins
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pytest

from phibench import catalog
from phibench.catalog import builds, tools
from phibench.core.nouns import Part, System, Tool, Words

HELP: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "tool_help.toml").read_text("utf-8"))
TOOLS = tools.tools()
SYSTEMS = get_args(System)
NAME = re.compile(r"\{([a-z_]+)\}")


def commands(tool: Tool) -> Iterator[tuple[System, Words]]:
    """Every command on every system with what its programs are called there, and each way that it can be filled."""
    first = tools.prerequisite(tool.needs)
    for system, lines in first.install.items():
        for words in (*lines, *tool.install, *tool.run, *tool.plain, *tool.typed.values()):
            for way in [(), *tool.model.values()]:
                for packages in [(), *tool.packages.values()]:
                    yield system, tuple(filled(words, tool, first.programs.get(system, {}), way, packages))


def filled(words: Words, tool: Tool, programs: dict[str, str], way: Words, packages: Words) -> Iterator[str]:
    every = [word for part in tool.settings.values() for word in part]
    for word in words:
        several = {"{settings}": every, "{model}": way, "{packages}": packages}.get(word)
        for one in [word.replace("{settings}", tool.joint.join(every))] if several is None else several:
            for provider in tool.providers.values() if "{provider};" in one else [""]:
                yield NAME.sub(
                    lambda found: programs.get(found[1], found[0]), one.replace("{provider};", f"{provider};")
                )


def program(words: Words) -> str:
    if words[0].startswith("/"):  # typed at a tool's own prompt
        return words[0]
    return PurePosixPath(words[0].replace("\\", "/")).name.removesuffix(".exe")


def helped(words: Words) -> str | None:
    """The longest command of the stored help that these words begin with."""
    plain = [program(words), *words[1:]]
    plain = plain[1:] if plain[0] == "sudo" else plain
    known = (" ".join(plain[:count]) for count in range(len(plain), 0, -1))
    return next((name for name in known if name in HELP), None)


def unknown_flags(words: Words) -> set[str]:
    """What a command names that its stored help lacks; a command without help is unknown itself."""
    if program(words) == "python":
        assert words[1] == "-c"
        return unknown_names(words[2])
    name = helped(words)
    if name is None:
        return {words[0]}
    rest = words[len(name.split()) :]
    if "names" in HELP[name]:
        return {rest[0]} - set(HELP[name]["names"])
    return {word for word in rest if re.match(r"--?[A-Za-z]", word)} - set(HELP[name].get("flags", ()))


def unknown_names(code: str) -> set[str]:
    """Attributes, imported names and names of arguments that no stored help of what it imports has."""
    tree = ast.parse(NAME.sub("0", code))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    used |= {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    known = {name for module in modules for name in HELP.get(f"python {module}", {}).get("names", ())}
    return used - known - {"end", "flush", "get"} - set(dir(builtins))  # of print and dict


@pytest.mark.parametrize("name", TOOLS)
def test_every_flag_is_in_the_help_that_its_makers_publish(name: str) -> None:
    for system, words in commands(TOOLS[name]):
        assert unknown_flags(words) == set(), (system, words)


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        (("~/.pixi/bin/llama-cli", "-hf", "a/b:Q8_0", "--context", "4096"), {"--context"}),
        (("llama-server", "-hf", "a/b:Q8_0", "-p", "Hello"), {"-p"}),
        (("/set", "parameter", "num_thread", "4"), {"num_thread"}),
        (("nix", "run"), {"nix"}),
        (("phi\\Scripts\\hf", "download", "a/b", "--resume"), {"--resume"}),
        (("sudo", "installer", "-pkg", "x.pkg", "-target", "/"), set()),
        (
            ("phi/bin/python", "-c", "from llama_cpp import Llama; Llama(n_ctx=1, context=2).chat()"),
            {"context", "chat"},
        ),
    ],
)
def test_an_invented_flag_is_found(words: Words, unknown: set[str]) -> None:
    assert unknown_flags(words) == unknown


def test_every_stored_help_is_used_and_says_where_it_was_read() -> None:
    used = {helped(words) for tool in TOOLS.values() for _, words in commands(tool)}
    code = " ".join(word for tool in TOOLS.values() for words in (*tool.run, *tool.plain) for word in words)
    assert {name for name in HELP if not name.startswith("python ")} == used - {None}
    assert {name for name in HELP if name.startswith("python ")} <= {
        f"python {one}" for one in re.findall(r"\w+", code)
    }
    assert all(entry["version"] and entry["address"].startswith("https://") for entry in HELP.values())


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_for_whom_it_is(name: str) -> None:
    tool = TOOLS[name]
    first = tools.prerequisite(tool.needs)
    assert set(first.install) == set(SYSTEMS)
    assert set(first.programs) in ({*SYSTEMS}, set())
    assert set(first.reaches) == set(first.otherwise)
    formats = {build.format for variant in catalog.variants() for build in builds.builds(variant.id)}
    assert {*tool.formats, *tool.beside} <= formats
    assert tool.help.address.startswith("https://")
    assert tool.help.version
    assert first.address.startswith("https://")
    assert set(tool.settings) | set(tool.typed) | set(tool.values) | set(tool.unset) <= set(get_args(Part))
    runtimes = {runtime.name for variant in catalog.variants() for runtime in variant.runtimes}
    assert tool.runtime in {*runtimes, ""}


def test_a_setting_that_the_advice_counts_with_is_set_or_told() -> None:
    """Context and layers decide whether it fits; what a tool cannot be told of the rest it says."""
    for name, tool in TOOLS.items():
        if "gguf" not in tool.formats:
            continue
        assert {"context", "layers"} <= {*tool.settings, *tool.typed}, name
        assert {"kv", "experts"} <= {*tool.settings, *tool.unset}, name


def test_what_is_typed_harms_no_shell_that_takes_no_comments() -> None:
    """zsh, unless it is told to, takes a # for a command: what follows must be plain words."""
    for tool in TOOLS.values():
        words = [tool.title, *(word for typed in tool.typed.values() for word in typed)]
        assert all(re.fullmatch(r"[A-Za-z0-9 .:/_{}-]+", word) for word in words), tool.title


def test_every_need_is_some_tools() -> None:
    folder = catalog.FOLDER / "tools" / "needs"
    assert {path.stem for path in folder.glob("*.toml")} == {tool.needs for tool in TOOLS.values()}
