"""Everything that a person or a program reads: rows, tables, forms, charts, pages.

In: nouns of other rooms. Out: text. Statistics of samples are taken here, where they are
shown; no figure is predicted or judged, and nothing is opened.
"""
