"""The same-answer gate: do backends and precisions answer alike?

With small seeded models, written with the same weights in every format: each answer is held against torch in float32
on the dequantized weights of that very file, so what remains is the engine's arithmetic, and that has narrow limits.
With a user's files: against each other, where the loss of quantization is part of the distance.

In: setups, or files. Out: an outcome each, with distance and limit. ``selftest/`` asks the same of one tiny model
before an engine is trusted.
"""
