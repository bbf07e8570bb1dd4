"""The mechanism layer: recording conversations with real models, on torch and transformers.

This is floor 2 of the house, beside `rules` (docs/decisions/0001). This version holds the package's name and its place
among the import contracts; recording itself comes with the extra `mechanism`. `traces.schema` already has the tables
that it will fill.
"""

DISTRIBUTION = "individuate"
