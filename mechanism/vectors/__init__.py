"""Persona vectors in the formats of others, loaded as they are and placed: which row belongs to which block's output.

Formats: `assistant_axis.pt` and role vectors (Lu et al. 2026), `capping_config.pt` (the same), `*_diff.pt` (Chen et al.
2025), GGUF control vectors (repeng, llama.cpp), and our own space files. What cannot be placed is refused.
"""

from mechanism.vectors.loading import default_layer, load_vectors

__all__ = ["default_layer", "load_vectors"]
