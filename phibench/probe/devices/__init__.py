"""Accelerators: GPUs and NPUs as buses, drivers and vendors' libraries show them."""
