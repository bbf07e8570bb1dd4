"""`individuate space`: persona spaces, made and looked at. A sub-command is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

_COMMANDS = {
    "fit": "individuation.spaces.fit:fit",
    "show": "individuation.spaces.show:show",
    "draw": "individuation.spaces.draw:draw",
    "regions": "individuation.spaces.regions:regions",
    "label": "individuation.spaces.label:label",
    "test": "individuation.spaces.testing:test",
}


class _Spaces(click.Group):
    """The sub-commands, in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [name for name, place in _COMMANDS.items() if find_spec(place.partition(":")[0]) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, loaded."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(
    cls=_Spaces,
    no_args_is_help=True,
    epilog="""
\b
Examples:
  individuate space fit --model organism --roles organism -o space.safetensors
  individuate space show space.safetensors
  individuate space draw space.safetensors -o space.svg
""",
)
def space() -> None:
    """Persona spaces: the axes on which a model's personas are measured, and the regions that are personas.

    A model's inner state while it speaks is a long list of numbers. A persona space picks a few directions among them
    that mean something, such as "more like the assistant", and the regions on them that count as one persona each.
    """
