"""The command ``onefill``."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from onefill import __version__
from onefill.cli import read_commands, serve_commands
from onefill.cli.archive_command import archive
from onefill.cli.audit_command import audit_app
from onefill.cli.bench_command import bench
from onefill.cli.callbacks_command import callbacks_app
from onefill.cli.cancel_command import cancel
from onefill.cli.control_commands import freeze, release, status
from onefill.cli.demo_command import demo
from onefill.cli.incident_commands import incidents_app
from onefill.cli.metrics_command import metrics
from onefill.cli.migrate_command import migrate
from onefill.cli.output import ExitCode, print_json
from onefill.cli.reconcile_command import reconcile
from onefill.cli.replace_command import replace
from onefill.cli.replay_command import replay
from onefill.cli.resolve_command import resolve
from onefill.cli.routes_command import routes_app
from onefill.cli.run_command import run
from onefill.cli.steps_command import steps
from onefill.cli.subscribers_command import subscribers_app
from onefill.cli.uncertain_command import uncertain
from onefill.cli.venues_command import venues_app

_UsageError = typer.BadParameter.__mro__[1]
"""What typer raises for arguments it cannot use; the class has moved between its versions."""


class _Group(TyperGroup):
    """The root command: with ``--json``, wrong arguments too are told as one JSON document on standard output."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that ``args`` name and end the process."""
        given = sys.argv[1:] if args is None else list(args)
        told_as_json = standalone_mode and "--json" in given
        if not told_as_json:
            return super().main(given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            code = super().main(
                given, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )
        except Exception as error:
            if not isinstance(error, _UsageError):
                raise
            problem = getattr(error, "format_message", error.__str__)()
            print_json({"error": problem, "kind": "UsageError", "exit_code": int(ExitCode.BAD_INPUT)})
            code = ExitCode.BAD_INPUT
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=_Group,
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
app.command()(steps)
app.command()(cancel)
app.command()(replace)
app.command()(uncertain)
app.command()(resolve)
app.command()(reconcile)
app.command()(status)
app.command()(freeze)
app.command()(release)
app.command()(read_commands.positions)
app.command()(serve_commands.exchange)
app.command()(serve_commands.link)
app.add_typer(venues_app, name="venues")
app.command()(bench)
app.command()(metrics)
app.command()(migrate)
app.command()(archive)
app.add_typer(audit_app, name="audit")
app.command()(replay)
app.add_typer(incidents_app, name="incidents")
app.add_typer(subscribers_app, name="subscribers")
app.add_typer(callbacks_app, name="callbacks")
app.add_typer(routes_app, name="routes")


def main() -> None:
    """Run the command line."""
    app()
