"""Events of a route that come from outside Onefill: callbacks that were taken in, and steps of users' own processes."""

import msgspec


class CallbackTaken(msgspec.Struct, frozen=True, gc=False, tag="callback_taken"):
    """A callback was taken in, once. It stands in the entry that holds the effect of the last report in it.

    ``digest``: SHA-256 of its body, in hexadecimal. ``reports``: how many it told.
    """

    source: str
    event_id: str
    digest: str
    reports: int


class StepBegun(msgspec.Struct, frozen=True, gc=False, tag="step_begun"):
    """A step of a user's process is about to be carried out, for the ``attempt``-th time."""

    key: str
    step: str
    attempt: int


class StepDone(msgspec.Struct, frozen=True, gc=False, tag="step_done"):
    """A step was carried out, and its result is kept. ``digest``: SHA-256 of the result, in hexadecimal."""

    key: str
    step: str
    attempt: int
    digest: str
