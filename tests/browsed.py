"""The dashboard's pages in this process, for tests; Streamlit must be there."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from phibench.core import folders

APP = folders.data_dir("dashboard") / "app.py"


def opened(page: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60).run()
    if page != "advice.py":
        app = app.switch_page(page).run()
    assert not app.exception
    return app


def alone(page: str) -> AppTest:
    """One page without the others: the advice of the first page takes a second."""
    app = AppTest.from_file(APP.with_name(page), default_timeout=60).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """All text outside of tables and charts."""
    kinds = ("title", "subheader", "markdown", "caption", "code", "info", "error")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))
