"""A request's body that is looked at once more right before it is written to the connection.

The HTTP client keeps the headers back until the first byte of the body is written, and writes that in a later turn of the event
loop than the one in which it was asked to send. A process may be stopped in between, for longer than its lease on the route.
"""

from collections.abc import Callable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload


class KeptBack(Exception):
    """Nothing of the request was written."""


class LookedAt(BytesPayload):
    """A body that is written whole, or not at all. ``kept_back``: why it was not."""

    def __init__(
        self, body: bytes, look: Callable[[], str | None], content_type: str | None = "application/json"
    ) -> None:
        super().__init__(body, content_type=content_type)
        self._look = look
        self.kept_back: str | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body, and the headers before it, unless the look says that nothing may leave."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write at most so many bytes of it; otherwise as :meth:`write`."""
        self.kept_back = self._look()
        if self.kept_back is not None:
            raise KeptBack(self.kept_back)
        transport = getattr(writer, "transport", None)
        if transport is not None:  # some event loops keep what is below a limit back until the end of their turn
            transport.set_write_buffer_limits(high=0)
        await super().write_with_length(writer, content_length)
