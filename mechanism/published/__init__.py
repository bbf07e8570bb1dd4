"""The published recordings of the paper's two mini-experiments, analysed again. Torch-free.

What the paper and its supplement state stands beside what the published files say, never mixed with it: statements are
in `mechanism.published.stated`, with their source; every other number is computed from the files that are given.
"""
