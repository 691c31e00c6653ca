"""Which setups fit a goal on a machine, in order, and why not the others.

In: a machine, a goal, stored runs. Out: verdicts, best first. Never opens a model.
"""
