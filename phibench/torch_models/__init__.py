"""Phi in torch: transformers' modules, filled with synthetic or real weights, run by a loop of our own.

Everything here imports torch at its top, so only functions of ``backends.torch`` import it.
"""
