"""``phibench report``: runs as one page to be mailed. It loads nothing, runs no script, and escapes every text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phibench import __version__
from phibench.core import run_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Run
from phibench.show.report_advice import Advice, advice_section
from phibench.show.report_sections import hardware, machine_section, run_section, software_section
from phibench.show.svg import shown

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LATEST = "latest"


def chosen(words: Sequence[str], folder: Path, known: Sequence[Run]) -> tuple[Run, ...]:
    """Runs by file, by id or its beginning, or the latest one, of those ``known`` in the folder. Raises PhibenchError
    for what means none or several."""
    found = {
        (run.machine.slug, run.id, run.suite.name): run for run in (_one(w, known, folder) for w in words or (LATEST,))
    }
    return tuple(found.values())


def page(runs: Sequence[Run], advice: Sequence[Advice] = ()) -> str:
    """The whole page, with what is advised for its machines."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    title = f"Phi on {', '.join(dict.fromkeys(hardware(run.machine) for run in runs))}"
    machines = {run.machine.identity: run.machine for run in runs}
    body = [
        f"<h1>{shown(title)}</h1>",
        f'<p class="soft">{shown(_summary(runs))}</p>',
        *(run_section(run) for run in runs),
        *map(advice_section, advice),
        *(machine_section(machine) for machine in machines.values()),
        software_section(runs),
        f"<footer>{shown(f'Made by phibench {__version__}. Figures are medians.')}</footer>",
    ]
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{shown(title)}</title>",
        f"<style>\n{style}</style>",
    )
    return "\n".join(
        ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body>", "</html>", ""]
    )


def _one(word: str, known: Sequence[Run], folder: Path) -> Run:
    if Path(word).is_file() or word.lower().endswith(".json"):
        return run_files.read_run(Path(word))
    own = [run for run in known if not run.example]
    if word == LATEST:
        if not own:
            raise PhibenchError(f"no run in {folder}; type: phibench run quick")
        return own[-1]
    found = [run for run in known if run.id == word] or [run for run in known if run.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{run.id} ({run.suite.name})" for run in (found or own)[-8:])
    if found:
        raise PhibenchError(f"'{word}' is the beginning of {len(found)} runs: {names}; write more of it, or the file")
    raise PhibenchError(f"no run '{word}' in {folder}; there are: {names or 'none'}, or give a file")


def _summary(runs: Sequence[Run]) -> str:
    days = sorted({run.started[:10] for run in runs})
    suites = ", ".join(dict.fromkeys(run.suite.name for run in runs))
    return f"{suites}; {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}"
