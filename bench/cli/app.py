"""The command line: registers one command per module of ``cli.commands`` and turns errors into exit codes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flipbench.cli import option_hints
from flipbench.cli.commands.check import check
from flipbench.cli.commands.compare import compare
from flipbench.cli.commands.data import data
from flipbench.cli.commands.kappa import kappa
from flipbench.cli.commands.list import list_names
from flipbench.cli.commands.new import new
from flipbench.cli.commands.paper import paper
from flipbench.cli.commands.plan import plan
from flipbench.cli.commands.privacy import privacy
from flipbench.cli.commands.report import report
from flipbench.cli.commands.results import results
from flipbench.cli.commands.run import run
from flipbench.cli.commands.schema import schema
from flipbench.cli.commands.serve import serve
from flipbench.cli.commands.version import version
from flipbench.cli.options import DONE, INTERRUPTED, MISTAKE
from flipbench.errors import UserError
from flipbench.system import signals


class _Group(TyperGroup):
    """Prints a user's mistake as one message, and reports an interrupt by its own exit code."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, as typer finds it; its words are kept for a hint."""
        ctx.meta[_WORDS] = list(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(MISTAKE) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except _UsageError as error:
            option = getattr(error, "option_name", None)
            if option and (hint := option_hints.field_hint(option, ctx.meta.get(_WORDS, ()))):
                error.message, error.possibilities = f"No such option: {option}. {hint}", None
            raise


_UsageError: Any = typer.BadParameter.__base__  # click's, or that of a typer which does not use click
_WORDS = "flipbench:words"  # of the context: the command's name and what stands behind it
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    help="flipbench: how much do robust aggregators save when some clients flip labels?",
    epilog="Exit codes: 0 done, 1 a check failed, 2 a mistake in the command or its files, 3 some cells failed, "
    "130 interrupted (finished cells are kept).",
)
COMMANDS: dict[str, Callable[..., None]] = {  # in the order of the help page
    "run": run,
    "plan": plan,
    "report": report,
    "serve": serve,
    "compare": compare,
    "results": results,
    "list": list_names,
    "data": data,
    "new": new,
    "check": check,
    "kappa": kappa,
    "privacy": privacy,
    "paper": paper,
    "schema": schema,
    "version": version,
}
for _name, _command in COMMANDS.items():
    app.command(_name, context_settings=HELP)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit(DONE)


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print versions and exit.")
    ] = False,
) -> None:
    """Needed for options of ``flipbench`` itself."""


def main() -> None:
    """Entry point of the script ``flipbench``."""
    signals.from_the_start()
    gc.set_threshold(200_000, 20, 100)  # 100,000 cells hold no cycles, and searching for some takes a fifth of the time
    try:
        app(prog_name="flipbench")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Python would wait for threads of libraries, which wait for processes
            sys.stdout.flush()
            sys.stderr.flush()
            signals.leave_at_once()
        raise
