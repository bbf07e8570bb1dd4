"""A host's distribution over the next token, from the last hidden states, without logits for all positions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from traces.errors import TraceError

if TYPE_CHECKING:
    from mechanism.host import Host


class OutputLayer:
    """What a model makes of its last hidden states: an output layer, and what some models do to its logits.

    Checked against the model's own logits on `ids` (int64 [1, tokens]; a few are enough). Raises `TraceError` where
    the two differ.
    """

    def __init__(self, host: Host, ids: Tensor) -> None:
        model: Any = host.model
        config: Any = host.inner.config
        self._layer = model.get_output_embeddings()
        self._softcap = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies, Granite divides.
        self._factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        inner: Any = host.inner
        with torch.inference_mode():
            theirs = model(input_ids=ids, use_cache=False).logits.float()
            ours = self.logits(inner(input_ids=ids, use_cache=False).last_hidden_state).to(theirs.device)
        loose = 1e-4 if host.dtype == torch.float32 else 5e-2
        if not float((ours - theirs).abs().max()) <= loose * float(theirs.abs().max()) + 1e-6:
            found = "its logits are not what its output layer makes of its last hidden states"
            raise TraceError(host.name, found, "a model that does nothing else to its logits but to cap or scale them")

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [..., vocabulary] of hidden states [..., hidden] after the final norm."""
        logits: Tensor = self._layer(hidden.to(self._layer.weight.device)).float() * self._factor
        return logits if self._softcap is None else torch.tanh(logits / self._softcap) * self._softcap

    def divergences(self, hidden: Tensor, memory: int) -> Tensor:
        """KL(first row || each other row) in nats, summed over positions: float64 [rows - 1].

        `hidden`: [rows, positions, hidden]. Logits of so many positions at a time that they take `memory` bytes.
        """
        rows, positions, _ = hidden.shape
        at_once = max(1, memory // (16 * rows * int(self._layer.weight.shape[0])))
        total = torch.zeros(rows - 1, dtype=torch.float64)
        for first in range(0, positions, at_once):
            chances = torch.log_softmax(self.logits(hidden[:, first : first + at_once]), -1)
            full = chances[0]
            for other in range(1, rows):
                each = (full.exp() * (full - chances[other])).sum(-1)
                # Rounding alone makes a divergence negative.
                total[other - 1] += float(each.clamp(min=0).sum())
        return total
