"""Two selections of stored runs against each other: pairs, and what they show.

In: names of runs, software or setups. Out: rows with a verdict each, and notes.
"""
