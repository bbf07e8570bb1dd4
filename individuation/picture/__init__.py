"""Pictures of traces: lanes along token-time, and the graph of stages.

A picture is described once, as a scene of shapes whose colours are named by their role (`scene`, `palette`), and
painted as SVG, PNG or PDF (`svg`, `bitmap`). What is drawn comes from stages and results alone, so that anything that
has those can be drawn.
"""
