"""Which engines are installed here, in which build, and the line that installs the others.

Each installed engine is asked in a child process of its own, all at once: importing them takes seconds, and a broken
one must not take phibench along.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec

from phibench import backends
from phibench.backends.contract import Abilities, Backend, EnginePackage
from phibench.core import ends, extras, text
from phibench.core.nouns import Installed, Problem

_LIMIT_S = 20.0
Provider = tuple[str, str, str]  # execution provider, kind of device, vendor


def ask(limit_s: float = _LIMIT_S) -> tuple[tuple[Installed, ...], tuple[Provider, ...]]:
    """Every engine with what its build can use, and what all their providers can reach; never raises."""
    engines = [backend for backend in map(backends.load, backends.names()) if backend.ENGINE]
    present = [one for one in engines if one.ENGINE and importlib.util.find_spec(one.ENGINE.module) is not None]
    answers = _ask(present, limit_s)
    found = tuple(_installed(one, one.ENGINE, answers.get(one.NAME)) for one in engines if one.ENGINE)
    reached = (one.reached for one in answers.values() if isinstance(one, Abilities))
    return found, tuple(dict.fromkeys(itertools.chain.from_iterable(reached)))


def _ask(engines: Sequence[Backend], limit_s: float) -> dict[str, Abilities | str]:
    """Answers by name; a text is the reason why there is none."""
    children: dict[str, subprocess.Popen[bytes]] = {}
    answers: dict[str, Abilities | str] = {}
    for engine in engines:
        assert engine.ENGINE is not None
        try:
            children[engine.NAME] = subprocess.Popen(
                [sys.executable, "-P", "-c", engine.ENGINE.question],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            answers[engine.NAME] = str(error.strerror)
    end = time.monotonic() + limit_s
    for name, child in children.items():
        try:
            said, errors = child.communicate(timeout=max(0.1, end - time.monotonic()))
            answers[name] = backends.load(name).abilities(said.splitlines()[-1])
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            answers[name] = f"it gave no answer in {limit_s:.0f} s"
        except (msgspec.DecodeError, IndexError, UnicodeDecodeError, RecursionError):
            how = ends.end(child.returncode, errors.decode("utf-8", "replace"))
            answers[name] = text.scrub(f"it cannot be imported: its process {how}")
    return answers


def _installed(backend: Backend, engine: EnginePackage, answer: Abilities | str | None) -> Installed:
    owners, install = distributions(engine.module), text.scrub(backends.install_line(backend, "quickstart"))
    twice = _installed_twice(owners)
    notes = [f"{problem.evidence}: {problem.remedy}" for problem in twice]
    package = owners[0] if owners else engine.package
    plain = Installed(backend=backend.NAME, package=package, install=install, notes=tuple(notes), problems=twice)
    if answer is None:
        told = (backends.COMPILES if engine.compiled else "", engine.hint)
        return msgspec.structs.replace(plain, notes=(*notes, *filter(None, told)))
    version = extras.version(package) or "unknown"
    if isinstance(answer, str):
        broken = Problem(kind="broken", evidence=f"broken: {answer}", remedy=f"pip install --force-reinstall {package}")
        return msgspec.structs.replace(
            plain, version=version, install="", notes=(broken.evidence, *notes), problems=(broken, *twice)
        )
    return msgspec.structs.replace(
        plain,
        version=version,
        install="",
        devices=answer.devices,
        features=answer.features,
        notes=tuple(notes + _more(backend, engine, package)),
    )


def _installed_twice(owners: tuple[str, ...]) -> tuple[Problem, ...]:
    if len(owners) < 2:
        return ()
    return (
        Problem(
            kind="installed_twice",
            evidence=f"{len(owners)} packages overwrite each other ({', '.join(owners)})",
            remedy=f"pip uninstall -y {' '.join(owners)}, then install one of them",
        ),
    )


def distributions(module: str) -> tuple[str, ...]:
    """Installed packages that own a module of this name: two of them have overwritten each other."""
    try:
        owners = importlib.metadata.packages_distributions().get(module, [])
    except Exception:  # noqa: BLE001  one unreadable package must not hide the others
        return ()
    return tuple(sorted(set(owners)))


def _more(backend: Backend, engine: EnginePackage, package: str) -> list[str]:
    """What the backend needs beside the engine: its version, or the line that installs it."""
    if not engine.beside:
        return []
    if backend.installed() is None:
        return [f"phibench needs {engine.beside} beside it: {_beside(backend, engine, package)}"]
    version = extras.version(engine.beside)
    return [f"{engine.beside} {version}"] if version else []


def _beside(backend: Backend, engine: EnginePackage, package: str) -> str:
    """The extra, unless it would put the cpu's build over another one."""
    if package == engine.package:
        return text.scrub(backends.install_line(backend, "quickstart"))
    return f"pip install --no-deps {engine.beside_of.get(package, engine.beside)}"
