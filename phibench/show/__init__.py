"""Everything that a person or a program reads: rows, tables, forms, charts, pages.

In: nouns of other rooms. Out: text. Computes no figure and opens nothing.
"""
