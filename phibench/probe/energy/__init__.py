"""Where energy and power can be read on this machine, and what keeps us from it."""
