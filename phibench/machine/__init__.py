"""The machine as advice and runs see it: probed, with its engines and its software, and what is wrong with it.

In: what the probe reads and the engines say. Out: the noun ``Machine``, versions of packages, the doctor's findings.
"""
