"""A thread that waits for what the guard's event loop makes of its call."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

_HEAD_START_S: Final = 0.001
"""How long the loop waits for that at most."""


@contextlib.contextmanager
def lent(lock: Any) -> Iterator[None]:
    """Give a re-entrant lock away for the block, if this thread holds it.

    So it does where a signal's handler calls in the middle of the thread's own request. What it waits for needs the connection,
    and would wait for this thread. Without a guard the handler would use the connection just so.
    """
    held = lock._release_save() if lock._is_owned() else None  # as threading.Condition does it: there is no public name
    try:
        yield
    finally:
        if held is not None:
            lock._acquire_restore(held)


class Late(Exception):
    """Nothing was told in time. No time-out of anybody else's: a script's own alarm may well raise TimeoutError."""


class _Outcome:
    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


class Waiter:
    """One call's thread. The first outcome that it is told counts.

    ``wait_s``: how long the call may take.
    """

    def __init__(self, wait_s: float | None = None) -> None:
        self.key: str | None = None
        self.client_order_id = ""
        """What the call is known by, once that is known."""
        self._until_s = None if wait_s is None else time.monotonic() + wait_s
        self._inbox: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._heard = threading.Event()
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False

    @property
    def left_s(self) -> float:
        """How long it still waits; nothing where it waits without a limit."""
        return 0.0 if self._until_s is None else self._until_s - time.monotonic()

    def wait(self, timeout_s: float | None = None) -> Any:
        """Return the call's outcome, or raise it. Raises Late after ``timeout_s``."""
        try:
            told = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            raise Late from None
        self._heard.set()
        if told.error is None:
            return told.result
        try:
            raise told.error
        finally:
            told.error = None  # it holds this frame, and would be held by it

    def end(self, result: Any) -> None:
        """Tell the outcome."""
        self._inbox.put(_Outcome(result, None))

    def let_hear(self) -> None:
        """Let the thread go on with what it was told before the loop's own thread takes the interpreter from it."""
        self._heard.wait(_HEAD_START_S)

    def fail(self, error: BaseException) -> None:
        """Tell what the call raises."""
        self._inbox.put(_Outcome(None, error))

    def begin(self) -> bool:
        """Note that the loop takes the call up. False if the thread has given it up before."""
        with self._lock:
            self._begun = not self._withdrawn
            return self._begun

    def withdraw(self) -> bool:
        """Give the call up, if the loop has not taken it up: nothing comes of it then. False if it has."""
        with self._lock:
            self._withdrawn = not self._begun
            return self._withdrawn
