"""Files of strangers: what a model that lies on a disk is, read without trusting a byte of it.

In: a path. Out: variant, quantization and plan of what lies there, or a PhibenchError that says what is wrong.
"""
