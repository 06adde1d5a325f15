"""The thread that waits for a guarded call of a synchronous object, and makes the call's own request meanwhile.

The guard's event loop decides and records; what it would have to hand to another thread is done by the one that waits for it
anyhow. A reply that is plainly the order that was asked for is returned right there, and recorded behind it by the loop.
"""

import asyncio
import contextlib
import queue
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from onefill.venues.ccxt.making import NotTaken

Reader = Callable[[Any], Any]
"""Returns what the call returns for what a request returned, ``None`` where the loop has to say. Must not block."""


class Interrupted(Exception):
    """A request was broken off in its thread, by Ctrl-C for instance: it may have arrived."""


class _Outcome:
    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


class _Request:
    """One request to be made. It is answered once, whatever happens to the thread that makes it."""

    def __init__(self, work: Callable[[], Any], reads: Reader) -> None:
        self._work = work
        self._reads = reads
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self._loop.create_future()

    def make(self) -> Any:
        """Make it in this thread. Returns what its reader makes of it; ``None`` also if it failed: the loop judges that."""
        result = None
        error: Exception | None = Interrupted("it was broken off; it may have arrived")
        try:
            result = self._work()
            error = None
            return self._read(result)
        except Exception as raised:
            error = raised
            if _is_of_a_signal(raised):
                error = Interrupted("a signal's handler broke it off; it may have arrived")
                raise
            return None
        finally:
            self.tell(result, error)

    def _read(self, result: Any) -> Any:
        try:
            return self._reads(result)
        except Exception as error:
            if _is_of_a_signal(error):
                raise
            return None  # what cannot be read is judged by the loop

    def tell(self, result: Any, error: Exception | None) -> None:
        """Answer it, from any thread."""

        def told() -> None:
            if self.answer.done():
                return  # nobody waits for it any more
            if error is not None:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(result)

        with contextlib.suppress(RuntimeError):  # the loop is closed: likewise
            self._loop.call_soon_threadsafe(told)


class Hands:
    """One call's thread. The loop may have one request made by it, while it waits, and tells it the outcome.

    ``free_s``: for how long from now on it may be kept busy.
    """

    def __init__(self, free_s: float = 0.0) -> None:
        self._until = time.monotonic() + free_s
        self._inbox: queue.SimpleQueue[_Request | _Outcome] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._taken = free_s <= 0

    # ------------------------------------------------------- the thread that waits

    def wait(self, timeout_s: float | None = None) -> Any:
        """Return the call's outcome, or raise it. Raises TimeoutError after ``timeout_s``."""
        try:
            while True:
                told = self._inbox.get(timeout=timeout_s)
                if isinstance(told, _Outcome):
                    break
                result = told.make()
                if result is not None:
                    return result
        except queue.Empty:
            raise TimeoutError from None
        finally:
            self._leave()
        if told.error is None:
            return told.result
        try:
            raise told.error
        finally:
            told.error = None  # it holds this frame, and would be held by it

    def _leave(self) -> None:
        """Make nothing more. What lies here still is made elsewhere."""
        with self._lock:
            self._taken = True
        with contextlib.suppress(queue.Empty):
            while True:
                left = self._inbox.get_nowait()
                if isinstance(left, _Request):
                    left.tell(None, NotTaken())

    # -------------------------------------------------------------------- the loop

    def maker(self, longest_s: float, reads: Reader) -> "Callable[[Callable[[], Any]], Awaitable[Any]] | None":
        """Return what has one request made here, one that takes ``longest_s`` at most; ``None`` if the thread is not free."""
        if self._taken or time.monotonic() + longest_s > self._until:
            return None

        async def make(work: Callable[[], Any]) -> Any:
            with self._lock:
                if self._taken:
                    raise NotTaken
                self._taken = True
                request = _Request(work, reads)
                self._inbox.put(request)
            return await request.answer

        return make

    def end(self, result: Any) -> None:
        """Tell the outcome."""
        self._inbox.put(_Outcome(result, None))

    def fail(self, error: BaseException) -> None:
        """Tell what the call raises."""
        self._inbox.put(_Outcome(None, error))


def _is_of_a_signal(error: BaseException) -> bool:
    """Tell whether a signal's handler raised it, as a script's own alarm does: then it is the script's, not the request's."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {code for handler in handlers if (code := getattr(handler, "__code__", None)) is not None}
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code in codes:
            return True
        at = at.tb_next
    return False
