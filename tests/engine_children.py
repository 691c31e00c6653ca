"""A pytest plugin: a test that opens an engine runs in a child process, one per engine, kept from test to test.

``@pytest.mark.engine("torch")`` on a test, a module or a parameter names the engine. Whatever an engine does, a signal
or a hang, is the failure of the test that ran; the next one gets a fresh child. An engine that is opened without the
mark, in pytest's own process or beside another engine, is refused before it is loaded. ``--pdb`` does without children.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from phibench.core import processes

HERE = Path(__file__).resolve().parent
ENGINES = {"llama_cpp": ("llama_cpp",), "onnxruntime": ("onnxruntime", "onnxruntime_genai"), "torch": ("torch",)}
# Native libraries, for what is loaded without an import of the package
_LIBRARIES = {"ggml": "llama_cpp", "llama": "llama_cpp", "onnxruntime": "onnxruntime", "torch": "torch", "c10": "torch"}
_LIBRARY = re.compile(rf"[/\\](?:lib)?({'|'.join(_LIBRARIES)})[^/\\\s]*\.(?:so|dylib|dll|pyd)\b")
# Tests whose child may hold several engines, and why.
TOGETHER: dict[str, str] = {}
_LEAVE_S = 30.0  # that a child may take to put its fixtures away and to save what coverage has seen
_LAST_S = 5.0  # the same, when the parent is gone


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("engines")
    group.addoption("--engine-limit", type=float, default=600.0, metavar="S", help="most seconds of an engine's step")
    group.addoption("--engine-child", metavar="ENGINES:IN:OUT", help="(used between processes of the tests)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine(name, ...): opens this engine, so it runs in a child of its own")
    child = config.getoption("--engine-child")
    if child:
        names, requests, answers = child.split(":")
        config.pluginmanager.register(_Served(config, names.split("+"), int(requests), int(answers)))
    elif not config.getoption("usepdb"):
        config.pluginmanager.register(_Children(config))


def engines_of(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("engine")
    return marker.args if marker else ()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        named = engines_of(item)
        if unknown := set(named) - set(ENGINES):
            raise pytest.UsageError(f"{item.nodeid}: no engine {', '.join(sorted(unknown))}")
        if len(named) > 1 and not any(item.nodeid.startswith(place) for place in TOGETHER):
            raise pytest.UsageError(f"{item.nodeid}: two engines in one process; TOGETHER does not say why")
        for module in (module for name in named for module in ENGINES[name]):
            if importlib.util.find_spec(module) is None:
                item.add_marker(pytest.mark.skip(reason=f"{module} is not installed"))


class Later:
    """A module that is imported when something of it is asked for: a test file is read by every process."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "pytest" in name:  # pytest looks at everything in a test file
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


# ------------------------------------------------------------------------------------------------- the parent


class _Children:
    """The children of this process of pytest, by their engines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._alive: dict[tuple[str, ...], processes.Child] = {}
        self._started = 0
        self._last: dict[tuple[tuple[str, ...], Path], str] = {}
        self._guard = _Guard(())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The last test of each engine and file: after it fixtures of its module are put away."""
        self._last = {(engines_of(item), item.path): item.nodeid for item in session.items}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        engines = engines_of(item)
        if not engines or item.get_closest_marker("skip"):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        with contextlib.closing(self._reports(item, engines)) as reports:  # Ctrl-C ends the child, too
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        item.session._setupstate.teardown_exact(nextitem)  # of tests before, that ran here
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield
        self._guard.look()

    @pytest.hookimpl(wrapper=True, trylast=True)  # before pytest-cov combines what all processes have written
    def pytest_runtestloop(self) -> Iterator[None]:
        try:
            return (yield)
        finally:
            for child in self._alive.values():
                _dismiss(child)

    def _reports(self, item: pytest.Item, engines: tuple[str, ...]) -> Generator[pytest.TestReport, None, None]:
        child = self._alive.get(engines) or self._start(engines)
        done, phase = False, "call"
        try:
            last = self._last[engines, item.path] == item.nodeid
            child.tell(json.dumps([item.nodeid, last]).encode())
            for found in map(json.loads, child.lines(self._config.getoption("--engine-limit"))):
                if found == "ready":
                    continue
                done = found == "done"
                if done:
                    break
                report = self._config.hook.pytest_report_from_serializable(config=self._config, data=found)
                if isinstance(report.longrepr, list):  # of a skip: file, line, reason; JSON has no tuples
                    report.longrepr = tuple(report.longrepr)
                phase = "teardown" if report.when == "call" else phase
                yield report
        finally:
            if not done:
                del self._alive[engines]
                said = _end_of(child)
                end = child.end()
        if not done:
            yield _died(item, f"the engine {' and '.join(engines)} {end}, in {item.nodeid}", said, phase)

    def _start(self, engines: tuple[str, ...]) -> processes.Child:
        """It collects the files of its tests under our settings; its temporary files are in a folder of its own."""
        self._started += 1
        config, name = self._config, "+".join(engines)
        folder = config._tmp_path_factory.getbasetemp() / f"{name}-{self._started}"  # type: ignore[attr-defined]
        limit_s = config.getoption("--engine-limit")
        arguments = [
            f"--rootdir={config.rootpath}", f"--basetemp={folder}", f"--tb={config.getoption('tbstyle', 'auto')}",
            f"--verbosity={config.getoption('verbose', 0)}", "--no-header", "--capture=tee-sys",
            *(["-c", str(config.inipath)] if config.inipath else []),
            *(f"-p{name}" for name in config.getoption("plugins") if name != "no:terminal"),
            *(f"-pno:{name}" for name in ("cacheprovider", "xdist", "pytest_cov")),
            "-o", f"faulthandler_timeout={0.9 * limit_s}",  # where it hangs
            *sorted({str(path) for of, path in self._last if of == engines}),
        ]  # fmt: skip
        before = os.environ.get("PYTHONPATH")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
            child = processes.Child("engine_children", [json.dumps([name, before, arguments])])
        self._alive[engines] = child
        return child


def _died(item: pytest.Item, why: str, said: str, phase: Any) -> pytest.TestReport:
    sections = [("what the child wrote last", said)] if said.strip() else []
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", longrepr=why, when=phase,
        sections=sections,
    )  # fmt: skip


def _end_of(child: processes.Child) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(timeout=1)  # its traceback is still being written
    stream = child._stderr
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8000))
    lines = stream.read().decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if "site-packages" not in line and "<frozen" not in line)


def _dismiss(child: processes.Child) -> None:
    child.tell(b"null")
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(timeout=_LEAVE_S)
    child.close()


# -------------------------------------------------------------------------------------------------- the child


class _Served:
    """A session of pytest that runs one of its tests per request."""

    def __init__(self, config: pytest.Config, engines: Sequence[str], requests: int, answers: int) -> None:
        self._config, self._board = config, processes.Board()
        self._answers = answers
        self._requests: queue.Queue[list[Any] | None] = queue.Queue()
        self._guard = _Guard(engines)
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()

    def _listen(self, requests: int) -> None:
        with contextlib.suppress(OSError), os.fdopen(requests, "rb") as stream:
            for line in stream:
                self._requests.put(json.loads(line))
        self._requests.put(None)  # the parent is gone
        threading.Event().wait(_LAST_S)
        os._exit(1)

    def _answer(self, found: object) -> None:
        line = memoryview(json.dumps(found, default=str).encode() + b"\n")
        while line:
            line = line[os.write(self._answers, line) :]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        self._board.show("opening")  # from here on silence is a test's
        self._answer("ready")
        while (request := self._requests.get()) is not None:
            item, last = items[request[0]], request[1]
            others = (other for other in session.items if other.path == item.path and other is not item)
            following = None if last else next(others, None)  # any of the same module: its fixtures stay
            session._setupstate.teardown_exact(item)  # of another module, whose last test went elsewhere
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._answer("done")
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield
        self._guard.look()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._answer(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def main(words: Sequence[str]) -> int:
    name, path, arguments = json.loads(words[0])
    if path is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = path
    requests, answers = os.dup(0), processes.private_output()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.pop("PYTEST_ADDOPTS", None)  # for the parent
    return pytest.main([f"--engine-child={name}:{requests}:{answers}", *arguments])


# -------------------------------------------------------------------------------------------------- the guard


class _Guard:
    """Of this process for as long as it lives: no engine is loaded but those that it is for."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = set(allowed)
        self._told: set[str] = set()
        self._of_module = {module: engine for engine, modules in ENGINES.items() for module in modules}
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Before it is loaded: what would crash then has not."""
        if event == "import":
            engine = self._of_module.get(arguments[0].partition(".")[0])
        elif event == "ctypes.dlopen" and isinstance(arguments[0], str) and (found := _LIBRARY.search(arguments[0])):
            engine = _LIBRARIES[found[1]]
        else:
            return
        if engine and engine not in self._allowed:
            self._refuse(engine)

    def look(self) -> None:
        """The proof, after a test: what is mapped into this process. Told once, of the test that did it."""
        maps = Path("/proc/self/maps")
        found = _LIBRARY.findall(maps.read_text(encoding="utf-8")) if maps.exists() else []
        engines = {_LIBRARIES[name] for name in found} - self._allowed - self._told
        self._told |= engines
        for engine in engines:
            self._refuse(engine)

    def _refuse(self, engine: str) -> None:
        where = f"the process of {' and '.join(sorted(self._allowed))}" if self._allowed else "pytest's own process"
        pytest.fail(f"{engine} is opened in {where}: mark the test with @pytest.mark.engine({engine!r})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
