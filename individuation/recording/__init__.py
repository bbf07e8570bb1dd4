"""Commands that record: they need the extra `mechanism`, and load it when they are called."""
