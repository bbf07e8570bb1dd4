"""The command: finds sub-commands, loads each when it is called, and makes one paragraph and status 2 of an error."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click
from click_default_group import DefaultGroup

from individuation import __version__
from traces.errors import TraceError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "individuation.commands"

# The command must start in a fraction of a second. It does no linear algebra, so the threads that numpy's library would
# start are waste; and pydantic would look for plugins in every installed package.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class InputError(click.ClickException):
    """Bad input, said as it is."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print where, what was found, and what was expected."""
        click.echo(self.message, file=file or sys.stderr, err=True)


class Commands(DefaultGroup):  # type: ignore[misc]
    """Sub-commands from entry points; anything else is a trace to count."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all installed sub-commands."""
        return sorted(_entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command, loaded; for any other word the default one, with the word as its first argument."""
        is_path = os.sep in cmd_name or "." in cmd_name
        entries = {} if is_path else _entries()
        if cmd_name not in entries:
            # The attribute by which click-default-group hands the word on.
            ctx.arg0 = cmd_name  # type: ignore[attr-defined]
            from individuation.cli.count import count

            return count
        command: click.Command = entries[cmd_name].load()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run, with every error of the domain caught in this one place."""
        try:
            return super().invoke(ctx)
        except TraceError as error:
            if ctx.params.get("debug"):
                raise
            raise _input_error(ctx, error) from error
        except (OSError, UnicodeError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            raise _input_error(ctx, _of_the_system(error)) from error


def _input_error(ctx: click.Context, error: TraceError) -> InputError:
    kept = "Nothing was written." if ctx.meta.get("individuation.writes") else ctx.meta.get("individuation.kept")
    return InputError(f"{error}\n{kept}" if kept else str(error))


def _of_the_system(error: OSError | UnicodeError) -> TraceError:
    """What the system refused for reasons that no reader of traces looks for, such as a name that is too long."""
    if isinstance(error, OSError) and error.filename is not None:
        found = (error.strerror or "it cannot be used").lower()
        return TraceError(str(error.filename), found, "a file that the system can open")
    if isinstance(error, UnicodeError):
        return TraceError("text", "it cannot be shown or stored in this encoding", "UTF-8 (set PYTHONIOENCODING=utf-8)")
    return TraceError("individuate", str(error), "a system that has room and answers")


def _entries() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


@click.group(
    cls=Commands, default="count", no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="individuate")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def cli(debug: bool) -> None:
    """Count the minds in recorded conversations with language models.

    \b
    individuate TRACE...                        all views, a line each
    individuate TRACE... --view model-persona   one view, its minds as a table

    TRACE is a trace.db, a trace file (YAML or JSON), or a published recording. Counting is the command `count`, which
    need not be typed: `individuate count --help` shows its options.

    \b
    Examples:
      individuate examples/qwen3-32b-aura.yaml
      individuate aura.db --view virtual-instance --reading reconstruction=new
      individuate monday.db tuesday.db --view model-persona --format json
      individuate import recording.json -o aura.db
    """


def run() -> None:
    """The console script."""
    cli(prog_name="individuate")


if __name__ == "__main__":
    run()
