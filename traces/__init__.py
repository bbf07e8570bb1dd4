"""The facts: what was recorded, stored and read back, before anyone says which stages belong to one mind.

This is floor 1 of the house (docs/decisions/0001): a vocabulary, trace files, the SQLite store, stages and links,
importers. Outsiders import `individuation`; the rooms in here are its foundations.
"""

DISTRIBUTION = "individuate"
