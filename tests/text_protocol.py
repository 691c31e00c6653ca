"""Where product code reads a sentence back that was written for people: by ast, without running anything.

``python tests/text_protocol.py PATH...`` prints each place and the count, and exits 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

# text: a sentence, which nobody may read; texts: several; label: made of typed parts, so nobody may cut it up again.
Kind = Literal["text", "texts", "label"]

TEXT = {"because", "doubt", "evidence", "imported", "message", "note", "objection", "reason", "remedy", "says",
        "stage", "text", "title", "why"}  # fmt: skip
TEXTS = {"doubts", "notes", "objections", "reasons", "unknowns", "warnings"}
LABEL = {"backend", "hypervisor", "setup", "test"}
_FIELDS: dict[str, Kind] = {
    **dict.fromkeys(TEXT, "text"), **dict.fromkeys(TEXTS, "texts"), **dict.fromkeys(LABEL, "label")
}  # fmt: skip
# Variables that hold one wherever they came from; ``text`` and ``title`` are too common for that.
_VARIABLES = {n: _FIELDS[n] for n in ("because", "evidence", "note", "notes", "reason", "reasons", "remedy", "why")}
_METHODS = {name for name in dir(str) if not name.startswith("_")} - {"format", "format_map", "join"} | {"contains"}
_CUTS = {"endswith", "partition", "removeprefix", "removesuffix", "replace", "rpartition", "rsplit", "split",
         "startswith"}  # fmt: skip
_PATTERNS = {"findall", "finditer", "fullmatch", "match", "search", "split", "sub", "subn"}
_WHOLE = {"chain", "fromkeys", "filter", "from_iterable", "iter", "list", "reversed", "set", "sorted", "tuple"}
_ONE = {"max", "min", "next", "str"}
# What the name of a metric or of a condition says beside what it is: its unit, its phase, when it was read.
_SPELLED = re.compile(r"_(bytes|s|tps|per_j|share|net_)|\w+_bytes|before_|after_|prefill|decode")

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


class Match(NamedTuple):
    line: int
    how: str
    source: str


def scan(paths: Iterable[Path]) -> dict[Path, list[Match]]:
    """The matches in each Python file at or below ``paths`` that has any."""
    files = sorted(set(chain.from_iterable(p.rglob("*.py") if p.is_dir() else (p,) for p in paths)))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    typed = literals(trees.values())
    found = {path: matches(tree, typed) for path, tree in trees.items()}
    return {path: places for path, places in found.items() if places}


def matches(tree: ast.Module, typed: frozenset[str] | None = None) -> list[Match]:
    """In the order of lines. ``typed``: fields that are a Literal, which the type checker watches; else those here."""
    reader = _Module(tree, literals([tree]) if typed is None else typed)
    found = {(node.lineno, node.col_offset): Match(node.lineno, how, ast.unparse(node)) for node, how in reader.hits()}
    return [found[place] for place in sorted(found)]


def literals(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Names of fields that are declared a Literal, or by a name that stands for one."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = [(ast.unparse(n.targets[0]), ast.unparse(n.value)) for n in nodes if isinstance(n, ast.Assign)]
    types = {name for name, value in named if value.startswith("Literal[")}
    fields = [(ast.unparse(n.target), ast.unparse(n.annotation)) for n in nodes if isinstance(n, ast.AnnAssign)]
    return frozenset(name for name, kind in fields if kind.startswith("Literal[") or kind in types)


class _Module:
    """The functions of a file, what their variables hold, and what is done with it."""

    def __init__(self, tree: ast.Module, typed: frozenset[str]) -> None:
        self._fields = {name: kind for name, kind in _FIELDS.items() if name not in typed}
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        inner = {id(n) for f in functions for n in ast.walk(f) if n is not f}
        outer = [f for f in functions if id(f) not in inner]
        self._functions = {f.name: f for f in outer}
        self._scopes: list[Scope] = [*outer, tree]
        self._held: dict[int, dict[str, Kind]] = {id(scope): {} for scope in self._scopes}
        self._composers = {f.name for f in outer if _composes(f)}
        before = -1
        while before != (before := sum(map(len, self._held.values()))):
            for scope in self._scopes:
                self._bind(scope)

    def hits(self) -> Iterator[tuple[ast.expr, str]]:
        for scope in self._scopes:
            for node in _own(scope):
                if isinstance(node, ast.expr) and (how := self._how(node, self._held[id(scope)])):
                    yield node, how
                elif isinstance(node, ast.Match) and self._kind(node.subject, self._held[id(scope)]) == "text":
                    yield node.subject, "match"

    def _bind(self, scope: Scope) -> None:
        held = self._held[id(scope)]
        for node in _own(scope):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assign(target, node.value, held)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
                self._assign(node.target, node.value, held)
            elif isinstance(node, ast.For | ast.comprehension):
                self._draw(node.target, node.iter, held)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._functions:
                self._pass(self._functions[node.func.id], node, held)

    def _assign(self, target: ast.expr, value: ast.expr, held: dict[str, Kind]) -> None:
        if isinstance(target, ast.Name) and (kind := self._kind(value, held)):
            held.setdefault(target.id, kind)
        elif isinstance(target, ast.Tuple):
            made = _elements(value)
            for place, one in enumerate(target.elts):
                if made:  # by a tuple, or each by the same generator
                    self._assign(one, made[place if len(made) == len(target.elts) else 0], held)
                else:
                    self._draw(one, value, held)

    def _draw(self, target: ast.expr, source: ast.expr, held: dict[str, Kind]) -> None:
        """``for target in source``."""
        if isinstance(target, ast.Name) and self._kind(source, held) == "texts":
            held.setdefault(target.id, "text")
        elif isinstance(target, ast.Tuple) and isinstance(source, ast.Call) and _called(source) in ("enumerate", "zip"):
            drawn = source.args if _called(source) == "zip" else (source, *source.args)
            for one, its in zip(target.elts, drawn, strict=False):
                self._draw(one, its, held)

    def _pass(self, function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call, held: dict[str, Kind]) -> None:
        theirs = self._held[id(function)]
        given = [(arg.arg, value) for arg, value in zip(function.args.args, call.args, strict=False)]
        given += [(word.arg, word.value) for word in call.keywords if word.arg]
        for name, value in given:
            if kind := self._kind(value, held):
                theirs.setdefault(name, kind)

    def _kind(self, node: ast.expr, held: Mapping[str, Kind]) -> Kind | None:
        kind: Kind | None = None
        match node:
            case ast.Name():
                kind = held.get(node.id) or _VARIABLES.get(node.id)
            case ast.Attribute():
                kind = self._fields.get(node.attr)
            case ast.Subscript():
                kind = self._item(node, held)
            case ast.Call():
                kind = self._result(node, held)
            case ast.NamedExpr() | ast.Starred():
                kind = self._kind(node.value, held)
            case ast.BoolOp():
                kind = next(filter(None, (self._kind(value, held) for value in node.values)), None)
            case ast.IfExp():
                kind = self._kind(node.body, held) or self._kind(node.orelse, held)
            case ast.BinOp(op=ast.Add()):  # of tuples; a sentence that goes on is another sentence
                kind = "texts" if "texts" in (self._kind(node.left, held), self._kind(node.right, held)) else None
            case ast.GeneratorExp() | ast.ListComp() | ast.SetComp() | ast.Tuple() | ast.List() | ast.Set():
                kind = "texts" if {"text", "texts"} & {self._kind(one, held) for one in _elements(node)} else None
        return kind

    def _item(self, node: ast.Subscript, held: Mapping[str, Kind]) -> Kind | None:
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return self._fields.get(node.slice.value) or _element(node.value)
        whole = self._kind(node.value, held)
        if whole == "texts":
            return "texts" if isinstance(node.slice, ast.Slice) else "text"
        return _element(node.value)

    def _result(self, node: ast.Call, held: Mapping[str, Kind]) -> Kind | None:
        name = _called(node)
        if isinstance(node.func, ast.Name) and name in self._composers:
            return "label"
        if isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
            known = [self._fields[key] for key in _words(node.args[0]) if key in self._fields]
            return known[0] if known else _element(node.func.value)
        kinds = [kind for arg in node.args if (kind := self._kind(arg, held))]
        if name in _WHOLE:
            return "texts" if "texts" in kinds else None
        if name in _ONE and kinds:
            return "text" if kinds[0] == "texts" else kinds[0]
        return None

    def _how(self, node: ast.expr, held: Mapping[str, Kind]) -> str | None:
        if isinstance(node, ast.Call):
            return self._called_on(node, held)
        if isinstance(node, ast.Compare):
            return self._compared(node, held)
        if isinstance(node, ast.Subscript):
            bare = isinstance(node.value, ast.Name) and node.value.id not in held  # ``why[0]`` may be of a pair
            if self._kind(node.value, held) == "text" and (isinstance(node.slice, ast.Slice) or not bare):
                return "slice"
            fixed = isinstance(node.value, ast.Dict) or _constant(node.value)
            return "key" if fixed and self._kind(node.slice, held) == "text" else None
        return None

    def _called_on(self, call: ast.Call, held: Mapping[str, Kind]) -> str | None:
        kinds = {self._kind(arg, held) for arg in call.args}
        if not isinstance(call.func, ast.Attribute):
            return self._handed_to(_called(call) or "", call.args, kinds)
        method, whom = call.func.attr, call.func.value
        if isinstance(whom, ast.Attribute) and whom.attr == "str":  # of a pandas column
            whom = whom.value
        methods = {"text": _METHODS, "texts": {"count", "index"}, "label": _CUTS}.get(self._kind(whom, held) or "", ())
        how = None
        if method in methods and not _escapes(call):
            how = method
        elif "text" in kinds and (method in _PATTERNS or ast.unparse(whom) in ("re", "str")):
            how = f"{ast.unparse(whom)}.{method}"
        elif "text" in kinds and method == "get" and _constant(whom):
            how = "key"
        elif method in _CUTS | _PATTERNS and any(map(_spells, call.args)):
            how = "spelled"
        return how

    def _handed_to(self, name: str, args: Sequence[ast.expr], kinds: set[Kind | None]) -> str | None:
        if name in ("filter", "map") and "texts" in kinds and isinstance(args[0], ast.Attribute):
            return name if args[0].attr in _METHODS | _PATTERNS else None
        return name if name in ("float", "int") and "text" in kinds else None

    def _compared(self, node: ast.Compare, held: Mapping[str, Kind]) -> str | None:
        sides = (node.left, *node.comparators)
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            kinds = self._kind(left, held), self._kind(right, held)
            if isinstance(op, ast.In | ast.NotIn):
                known = isinstance(right, ast.Call) or _constant(right) or any(_words(right))
                within = kinds[1] in ("text", "texts") or (kinds[1] == "label" and _words(left))
                if known if kinds[0] in ("text", "texts") else within:  # ``note not in said`` says it once
                    return "in"
                if _spells(left) and any(word.startswith("_") for word in _words(left)):
                    return "spelled"
            if isinstance(op, ast.Eq | ast.NotEq) and "text" in kinds:
                other = right if kinds[0] == "text" else left
                if any(_words(other)) or isinstance(other, ast.JoinedStr) or _constant(other):
                    return "=="
        return None


def _own(scope: Scope) -> Iterator[ast.AST]:
    """All nodes of a function with those inside it; of a module what stands outside of functions."""
    waiting: list[ast.AST] = [*ast.iter_child_nodes(scope)]
    while waiting:
        node = waiting.pop()
        if isinstance(scope, ast.Module) and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _composes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Does it return a text that it puts together?"""
    said = ast.unparse(function.returns) if function.returns else ""
    returned = (n for r in ast.walk(function) if isinstance(r, ast.Return) for n in ast.walk(r))
    return said in ("str", "str | None") and any(isinstance(n, ast.JoinedStr) for n in returned)


def _elements(node: ast.expr) -> list[ast.expr]:
    return [node.elt] if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp) else getattr(node, "elts", [])


def _element(whole: ast.expr) -> Kind | None:
    """``engine.options[..]``, ``conditions.get(..)``."""
    return "text" if ast.unparse(whole).endswith(("conditions", "engine.options")) else None


def _called(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    return ast.unparse(node.func).rpartition(".")[2]


def _constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).rpartition(".")[2].isupper()


def _words(node: ast.expr) -> list[str]:
    """The literal texts of an argument: one, or a tuple of them."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]


def _spells(node: ast.expr) -> bool:
    return any(_SPELLED.fullmatch(word) or "_(bytes|" in word for word in _words(node))


def _escapes(call: ast.Call) -> bool:
    """``replace("|", "\\|")`` takes nothing out."""
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "replace" and len(call.args) == 2
    return named and ast.unparse(call.args[0]).strip("'\"") in ast.unparse(call.args[1])


def main(names: list[str]) -> int:
    found = scan(map(Path, names))
    for path, places in found.items():
        for place in places:
            print(f"{path}:{place.line}: {place.how}: {place.source}")
    print(f"{sum(map(len, found.values()))} matches in {len(found)} files")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
