"""Regions of a persona space: fitted to points, named, drawn as ranges, and followed from turn to turn. Torch-free."""
