"""A fault planted into a real engine's session, in every process of a command: PYTHONPATH leads here.

``PLANTED_FAULT="llama_cpp prefill SIGSEGV"``: what, when, how; a fourth word names the option that heals it.
``PLANTED_ONCE``: a file that is made by the first process that fails, the last one that does. Python runs a module of
this name at its start, before anything of phibench.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_BACKEND, _WHEN, _HOW, _HEALED, *_ = (*os.environ.get("PLANTED_FAULT", "").split(), "", "", "", "")
_MODULE = f"phibench.backends.{_BACKEND}" + ("" if _WHEN == "importing" else ".open_model")
_ONCE = os.environ.get("PLANTED_ONCE", "")


def _fail(session: Any, given: Any) -> Any:
    """Die as told, or give back what is wrong."""
    if _HOW == "says":
        from phibench.core.errors import PhibenchError

        raise PhibenchError("planted")
    if _HOW == "wrong":
        return -given if given is not None else None
    if _HOW == "exit":
        print("an unrelated line of a log", file=sys.stderr, flush=True)
        os._exit(3)
    if _HOW == "closed":
        os.closerange(3, 256)
    if _HOW in ("hang", "closed"):
        threading.Event().wait()
    if _HOW == "oom":
        raise MemoryError
    if _HOW == "SIGABRT":
        print("GGML_ASSERT(planted) failed", file=sys.stderr, flush=True)
    os.kill(os.getpid(), getattr(signal, _HOW))
    return None


def _wrap(kind: Any, name: str, fails: Callable[..., bool]) -> None:
    usual = getattr(kind, name)

    def planted(session: Any, *given: Any, **named: Any) -> Any:
        failing = fails(*given, **named) and not _is_healed(session, given)
        if failing and _HOW != "wrong":
            _fail(session, None)
        found = usual(session, *given, **named)
        return _fail(session, found) if failing else found

    setattr(kind, name, planted)


def _is_healed(session: Any, given: Sequence[Any]) -> bool:
    """``repack=off`` in the options of the job, or it was not the first."""
    if _ONCE:
        try:
            os.close(os.open(_ONCE, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return True
    job = getattr(session, "_job", None) or next((one for one in given if hasattr(one, "setup")), None)
    return bool(_HEALED and job is not None and tuple(_HEALED.split("=")) in job.setup.options)


def _plant(module: ModuleType) -> None:
    if _WHEN == "importing":
        _fail(None, None)
    kind = module.__dict__["OpenModel"]
    if _WHEN == "opening":
        _wrap(kind, "__init__", lambda *_: True)
    if _WHEN == "prefill":
        _wrap(kind, "prefill", lambda *_: True)
        _wrap(kind, "score", lambda *_: True)
    if _WHEN == "decode":
        _wrap(kind, "step", lambda *_: True)
        _wrap(kind, "score", lambda _, then: bool(len(then)))


class _Loader(importlib.abc.Loader):
    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._usual.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._usual.exec_module(module)
        _plant(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if _BACKEND:
    sys.meta_path.insert(0, _Finder())
