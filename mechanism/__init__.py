"""The mechanism layer: recording conversations with real models, persona spaces, and the paper's experiments.

This is floor 2 of the house, beside `rules` (docs/decisions/0001). It comes with the extra `mechanism` (torch,
transformers). A few modules need neither, so that published results can be looked at without them: `outcome`,
`statistics`, `published`, `regions`, `role_cloud`, and the static parts of `hypotheses`.
"""

DISTRIBUTION = "individuate"
