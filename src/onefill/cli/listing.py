"""Commands that list when they are given no command of their own: ``onefill incidents LEDGER``."""

from typing import Any

from typer.core import TyperGroup

LIST = "list"


class Listing(TyperGroup):
    """``onefill NAME LEDGER`` is short for ``onefill NAME list LEDGER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name in front, unless one of its own, or help, is asked for."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [LIST, *args]
        return super().parse_args(ctx, args)
