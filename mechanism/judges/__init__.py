"""Judges: whose words a reply is, and how much so. By a grammar, by another chat model, or by scores made elsewhere."""
