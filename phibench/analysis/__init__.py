"""What stored runs say beyond their figures: winners, sustained load, context, batches, energy.

In: runs and rows. Out: notes and numbers. Pure functions.
"""
