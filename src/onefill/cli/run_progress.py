"""How far a run is: a live bar on a terminal, a line every ten seconds in a log, nothing with ``--json``."""

import time

from onefill.cli.output import errors, progress, remark
from onefill.engine.gateway import Gateway
from onefill.service.runner import RowResult

_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 10.0


class RunProgress:
    """Shows a run's progress on standard error. A context manager."""

    def __init__(self, name: str, total: int, gateway: Gateway, *, as_json: bool) -> None:
        self._name = name
        self._total = total
        self._gateway = gateway
        self._silent = as_json and not errors.is_terminal
        self._bar = progress(shown=True) if errors.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task(name, total=total, note="")
        self._every_s = _LINE_EVERY_S if self._bar is None else _BAR_EVERY_S
        self._done = 0
        self._due = time.monotonic() + self._every_s

    def __enter__(self) -> "RunProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._show()
            self._bar.stop()

    def heard(self, _: RowResult) -> None:
        """Take note of one more answered row."""
        self._done += 1
        if self._done % 16 == 0 and (now := time.monotonic()) >= self._due:
            self._due = now + self._every_s
            self._show()

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, note=self._note())
        elif not self._silent:
            remark(f"{self._name}: {self._done:,} of {self._total:,} rows, {self._note()}")

    def _note(self) -> str:
        sent = resent = unknown = 0
        for counts in self._gateway.counts().values():
            sent, resent, unknown = (
                sent + counts.copies_sent,
                resent + counts.resends,
                unknown + counts.unknown_outcomes,
            )
        return f"sent {sent}, no reply {unknown}, sent again {resent}"
