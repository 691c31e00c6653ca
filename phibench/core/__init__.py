"""What every room uses: nouns, errors, files, metrics, statistics, units, text and child processes.

In: plain values. Out: frozen records and pure functions over them. Imports no other room.
"""
