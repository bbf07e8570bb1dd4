"""The command `individuate experiment`."""
