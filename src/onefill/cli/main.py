"""The command ``onefill``."""

from typing import Annotated

import typer

from onefill import __version__
from onefill.cli import read_commands, serve_commands
from onefill.cli.bench_command import bench
from onefill.cli.cancel_command import cancel
from onefill.cli.demo_command import demo
from onefill.cli.run_command import run

app = typer.Typer(
    help="An order-execution gateway in which retries are safe: send it eleven times; it trades once.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold what must not be shown
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onefill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(demo)
app.command()(run)
app.command()(read_commands.orders)
app.command()(read_commands.show)
app.command()(cancel)
app.command()(read_commands.positions)
app.command()(serve_commands.exchange)
app.command()(serve_commands.link)
app.command()(bench)
app.add_typer(read_commands.audit_app, name="audit")


def main() -> None:
    """Run the command line."""
    app()
