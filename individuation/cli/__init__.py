"""The command `individuate`: one file a sub-command, found through the entry-point group `individuation.commands`."""
