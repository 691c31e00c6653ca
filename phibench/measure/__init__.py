"""A request becomes tasks, tasks become a run: grid, suites, launches, the worker and its clock.

In: a request and a machine. Out: a run file, written after every result. Never advises.
"""
