"""Figures that other tools measured, as runs.

In: files of llama-bench and llama-batched-bench. Out: runs that say that they were imported.
"""
