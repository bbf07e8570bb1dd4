"""The paper's experiments, on any host: each with its own statistics, tables, plots and trace (docs/experiments.md).

`catalogue` says what each asks and what it can be told, without torch; the modules named there do it.
"""
