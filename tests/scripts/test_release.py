"""What must be so before a version is published, and the site of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from phibench import __version__

ROOT = Path(__file__).parents[2]
CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2027-01-02\n\n- New.\n\n## [1.2.2]\n\n- Old.\n"
OTHER = "[project.urls]\nHomepage = 'https://github.com/somebody/phibench'\n"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return __import__(name)

    return load


@pytest.fixture
def place(tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script in a checkout of another project: version 1.2.3 of somebody/phibench."""
    (tmp_path / "phibench").mkdir()
    (tmp_path / "phibench" / "__init__.py").write_text('"""x"""\n\n__version__ = "1.2.3"\n')
    (tmp_path / "pyproject.toml").write_text(OTHER)
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    release = script("release")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    return release


def test_the_notes_are_the_section_of_the_version(place: Any) -> None:
    assert place.notes("v1.2.3") == "- New."
    assert place.notes("v1.2.2") == "- Old."
    assert place.notes("v9") == ""


def test_what_is_right_is_released(place: Any) -> None:
    assert place.objections("v1.2.3", "somebody/phibench") == []


@pytest.mark.parametrize(
    ("tag", "repository", "says"),
    [
        ("v1.2.4", "somebody/phibench", "the tag is v1.2.4, the version in phibench/__init__.py is 1.2.3"),
        ("1.2.3", "somebody/phibench", "the tag is 1.2.3"),
        ("v1.2.3", "else/phibench", "names https://github.com/somebody/phibench, this is else/phibench"),
        ("v1.2.4", "somebody/phibench", "CHANGELOG.md has no section [1.2.4]"),
    ],
)
def test_what_is_wrong_is_not(place: Any, tag: str, repository: str, says: str) -> None:
    assert any(says in line for line in place.objections(tag, repository))


def test_the_script_finds_the_version_of_this_checkout(script: Any) -> None:
    assert script("release").version() == __version__
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "release.py"), "check", "v0.0.0", "nobody/nothing"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "this is nobody/nothing" in done.stderr


# ------------------------------------------------------------------------------------------- workflows

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_may_do_no_more_than_they_must(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        assert "write-all" not in str(job.get("permissions")), name
        for step in job["steps"]:
            if action := step.get("uses"):
                assert re.fullmatch(r"[\w/-]+@(v\d+|release/v\d+|[0-9a-f]{40})", action), action
                if action.startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False
            assert "${{ github." not in step.get("run", ""), step  # a title or branch would be run as a command


def test_only_publishing_may_speak_for_the_project() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert [step["uses"].split("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact", "pypa/gh-action-pypi-publish",
    ]  # fmt: skip  # nothing of this repository runs where the right to publish is
    assert jobs["build"]["permissions"] == {"contents": "read"}


def test_every_python_that_is_promised_is_tested_everywhere() -> None:
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert matrix["strategy"]["matrix"]["python"] == promised
    assert {name.partition("-")[0] for name in matrix["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_forms_of_issues_are_well_formed(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])


def test_a_report_asks_for_the_doctor() -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "report.yml").read_text(encoding="utf-8")
    (field,) = (one for one in yaml.safe_load(text)["body"] if one["id"] == "doctor")
    assert "phibench doctor -o md" in field["attributes"]["label"]
    assert field["validations"]["required"] is True


# ------------------------------------------------------------------------------------------------ the site


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for one in (nav.values() if isinstance(nav, dict) else nav) for page in pages(one)]


def test_the_site_has_every_page_once_in_use_or_inside(script: Any) -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert [title for part in config["nav"] for title in part] == ["Use", "Inside"]
    listed = pages(config["nav"])
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(there | set(script("docs_site").PAGES.values()))


def test_the_site_loads_nothing_from_elsewhere() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert config["strict"] is True
    added = [*config.get("extra_javascript", ()), *config.get("extra_css", ())]
    assert all((ROOT / "docs" / name).is_file() for name in added)


@pytest.mark.parametrize(
    ("page", "text", "shown"),
    [
        ("index.md", "[a](docs/suites.md) [b](CHANGELOG.md)", "[a](suites.md) [b](changelog.md)"),
        ("index.md", "[a](#install) [b](https://a.test/x)", "[a](#install) [b](https://a.test/x)"),
        ("index.md", "[MIT](LICENSE) [d](docs/README.md)", "MIT [d](architecture.md)"),
        ("suites.md", "[a](../CONTRIBUTING.md#style) [b](noise.md#x)", "[a](contributing.md#style) [b](noise.md#x)"),
        ("suites.md", "[a](../suites/latency.toml)", "a"),
    ],
)
def test_links_hold_on_the_site(script: Any, page: str, text: str, shown: str) -> None:
    site = script("docs_site")
    names = {"suites.md", "noise.md", "architecture.md", *site.PAGES.values()}
    files = [SimpleNamespace(src_uri=name) for name in names]
    assert site.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), None, files) == shown
