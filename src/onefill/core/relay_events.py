"""What the journal says of subscribers: that an order's events are told no more, or again, and that somebody moved a place."""

import msgspec


class LaneStopped(msgspec.Struct, frozen=True, gc=False, tag="lane_stopped"):
    """A subscriber would not take an event. The events of this order (or route) are told to it no more.

    ``lane``: the order's client order id, or the route's name for events of no order. ``event_id``, ``sequence``: the event
    that was refused, which is the first that was not taken. ``tries``: how often it was told in vain.
    """

    subscriber: str
    lane: str
    event_id: str
    sequence: int
    tries: int
    reason: str
    incident: int


class LaneResumed(msgspec.Struct, frozen=True, gc=False, tag="lane_resumed"):
    """A person lets a subscriber be told of an order again, from the event that was refused or (``skipped``) behind it."""

    subscriber: str
    lane: str
    sequence: int
    skipped: bool
    by: str
    reason: str


class SubscriberMoved(msgspec.Struct, frozen=True, gc=False, tag="subscriber_moved"):
    """A person moved a subscriber's place: what comes after ``position`` is told, or told again."""

    subscriber: str
    previous: int
    position: int
    by: str
    reason: str
