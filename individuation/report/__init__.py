"""The report: one page of HTML that holds everything about the minds of a trace and loads nothing from anywhere.

Each section is a file that makes markup from what `findings` gathered. Whatever comes from a trace is text and is
escaped where it enters the markup (`markup`). The page can be read without scripts; `script/` adds pointing, keys and
zoom.
"""
