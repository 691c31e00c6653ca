"""One file per format: how a small model is written, and read back to be compared; its limits beside it.

``write(model, quantization, folder)`` gives the path, ``stored(model, quantization, path)`` every tensor, dequantized.
``SELFTESTED``: of whose tiny models the answers are shipped (none: engines of the format are not tested before use).
``has_scales(quantization)`` and ``damage_scale(path)``: for a planted fault.
"""
