"""Serves the dashboard: Streamlit as a child process on 127.0.0.1, nothing sent anywhere.

The pages themselves are in the folder ``dashboard``; this module only starts and stops them.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

from phibench.core import extras, folders
from phibench.core.errors import FAILED, INTERRUPTED, PhibenchError

HOST = "127.0.0.1"  # never another: results and advice are nobody else's
FIRST_PORT = 8501  # Streamlit's own default
_TRIES = 50  # ports after it
_START_S = 60.0
_STOP_S = 5.0


def serve(results: Path, port: int | None = None, open_browser: bool = True) -> int:
    """Serve the dashboard of the runs below ``results`` until Ctrl-C; then 130, and nothing is left running.

    ``port`` None: 8501 or the next free one. Raises PhibenchError when Streamlit is missing, the port is
    taken, or the server ends by itself.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise PhibenchError(f"the dashboard needs Streamlit: {extras.line('dashboard')}")
    chosen = _first_free() if port is None else _checked(port)
    url = f"http://{HOST}:{chosen}"
    # Streamlit's banner goes nowhere: stdout is for data. Its warnings and errors come through on stderr.
    child = subprocess.Popen(command(results, chosen), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(child, chosen)
        print(f"phibench dashboard: {url} (results from {results}; Ctrl-C stops it)", file=sys.stderr, flush=True)
        if open_browser and _has_display():
            webbrowser.open(url)
        raise PhibenchError(f"the dashboard ended by itself with exit code {child.wait()}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _stop(child)


def command(results: Path, port: int) -> list[str]:
    """Flags, because they win over the user's own Streamlit settings. ``-P``: no module from the current folder."""
    flags = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": "true",  # no question for an e-mail address; we open the browser ourselves
        "server.fileWatcherType": "none",
        "server.enableCORS": "true",
        "server.enableXsrfProtection": "true",
        "browser.gatherUsageStats": "false",
        "logger.hideWelcomeMessage": "true",
        "client.toolbarMode": "minimal",
        "client.showErrorLinks": "false",  # they would carry a traceback to a search engine
    }
    start = [sys.executable, "-P", "-m", "streamlit", "run", str(folders.data_dir("dashboard") / "app.py")]
    return [*start, *(f"--{key}={value}" for key, value in flags.items()), "--", "--results", str(results)]


def _first_free() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + _TRIES):
        if _why_not(port) is None:
            return port
    raise PhibenchError(f"ports {FIRST_PORT} to {port} of {HOST} are all taken; name a free one with --port", FAILED)


def _checked(port: int) -> int:
    if not 1 <= port <= 65535:
        raise PhibenchError(f"{port} is not a port; take one from 1024 to 65535, or leave --port out")
    if why := _why_not(port):
        raise PhibenchError(f"cannot use port {port} of {HOST}: {why}; take another, or leave --port out", FAILED)
    return port


def _why_not(port: int) -> str | None:
    """Why nothing can listen on the port now, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        if os.name == "posix":  # elsewhere this flag would allow two listeners
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def _wait_until_ready(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(round(_START_S / 0.1)):
        if _answers(port):
            return
        try:
            code = child.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise PhibenchError(f"the dashboard did not start (exit code {code}); its last words are above", FAILED)
    raise PhibenchError(f"the dashboard did not answer within {_START_S:g} s", FAILED)


def _has_display() -> bool:
    """Where there is none, webbrowser would start a text browser in this terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
