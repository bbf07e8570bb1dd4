"""The criteria: which stages belong to one mind. One file a view, each with its definition and source on top.

This is floor 2 of the house (docs/decisions/0001). Pure: stages in, verdicts out; no files, no store, no terminal, no
torch.
"""

DISTRIBUTION = "individuate"
