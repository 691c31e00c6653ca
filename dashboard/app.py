"""The dashboard's table of contents: ``phibench dashboard`` starts it."""

from pathlib import Path

import streamlit as st

st.set_page_config(page_title="phibench", page_icon=str(Path(__file__).with_name("phi.svg")), layout="wide")
# No icon= on the pages: the browser would fetch it from a Google server as the tab's icon.
pages = [
    st.Page("advice.py", title="Advice", default=True),
    st.Page("results.py", title="Results"),
    st.Page("compare.py", title="Compare"),
]
st.navigation(pages, position="top").run()
