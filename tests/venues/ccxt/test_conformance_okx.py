"""The venue suite over OKX: by lists alone, and with the streams."""

from typing import Any, ClassVar

from conformance_kit import CcxtConformance

from onefill.sim.imitations.okx import OkxImitation


class TestOkx(CcxtConformance):
    """A pair: ids count among pending orders only, and replies show nothing of the order."""

    imitation = OkxImitation
    settings: ClassVar[dict[str, Any]] = {"streams": False}


class TestOkxStreams(CcxtConformance):
    """The same, told by the private WebSocket too."""

    imitation = OkxImitation
