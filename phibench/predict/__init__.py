"""Speed, memory and time of what was not measured, with intervals and where they come from.

In: plans, machines, stored runs. Out: the noun ``Estimate``.
"""
