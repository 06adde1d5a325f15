"""Every kind of venue that a simulated world can have: the combinations of capabilities that make sense, in a fixed order.

A profile is one combination of what the retry contract looks at. What matters less for it (the scope of execution ids,
throttling) varies from one round through the profiles to the next, so that a longer run walks all of it.
"""

import functools
import itertools

import msgspec

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, Lookup, ReplaceStyle, UniqueScope
from onefill.core.messages import VenueStatus


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of venue. ``expiry``: it honours one on requests; ``conclusive``: it declares a T; ``asynchronous``: its
    acknowledgements are; ``shows_as``: the last state of an order that goes on under another id.
    """

    scope: UniqueScope
    duplicate: DuplicateReply
    lookup: Lookup
    expiry: bool
    conclusive: bool
    asynchronous: bool
    replace: ReplaceStyle
    shows_as: VenueStatus

    @property
    def name(self) -> str:
        """Readable, and taken by ``--only``: ``open-error/direct/expiry/T/sync/new_id-canceled``."""
        refusal = self.scope if self.scope is UniqueScope.NONE else f"{self.scope}-{self.duplicate}"
        replace = str(self.replace)
        if self.replace is ReplaceStyle.NEW_ID:
            replace = f"{self.replace}-{self.shows_as}"
        parts = (
            refusal,
            f"lookup-{self.lookup}",
            "expiry" if self.expiry else "no-expiry",
            "T" if self.conclusive else "no-T",
            "async" if self.asynchronous else "sync",
            f"replace-{replace}",
        )
        return "/".join(parts)

    @property
    def family(self) -> str:
        """What decides after a lost reply: scope, look-up, expiry and T. Counts are kept by it."""
        expiry, conclusive = "expiry" if self.expiry else "no-expiry", "T" if self.conclusive else "no-T"
        return f"{self.scope}/{self.lookup}/{expiry}/{conclusive}"


_REFUSALS = (
    (UniqueScope.EVER, DuplicateReply.ERROR),
    (UniqueScope.OPEN, DuplicateReply.ERROR),
    (UniqueScope.NONE, DuplicateReply.ACCEPTS),
    (UniqueScope.DAY, DuplicateReply.ERROR),
    (UniqueScope.OPEN, DuplicateReply.ORIGINAL),
    (UniqueScope.EVER, DuplicateReply.ORIGINAL),
    (UniqueScope.DAY, DuplicateReply.ORIGINAL),
)
_REPLACES = (
    (ReplaceStyle.KEEP, VenueStatus.REPLACED),
    (ReplaceStyle.NEW_ID, VenueStatus.REPLACED),
    (ReplaceStyle.NEW_ID, VenueStatus.CANCELED),
    (ReplaceStyle.NONE, VenueStatus.REPLACED),
)
_VARIANTS = tuple(itertools.product(ExecutionIdScope, (False, True)))
_STRIDE = 185
"""Coprime to the number of profiles: neighbouring seeds get venues that have little in common."""


@functools.cache
def profiles() -> tuple[Profile, ...]:
    """Return every profile. Their order is part of what a seed means."""
    return tuple(
        Profile(
            scope=scope,
            duplicate=duplicate,
            lookup=lookup,
            expiry=expiry,
            conclusive=conclusive,
            asynchronous=asynchronous,
            replace=replace,
            shows_as=shows_as,
        )
        for (scope, duplicate), lookup, expiry, conclusive, asynchronous, (replace, shows_as) in itertools.product(
            _REFUSALS, Lookup, (True, False), (True, False), (False, True), _REPLACES
        )
    )


def profile_of(seed: int) -> Profile:
    """Return a seed's profile: as many seeds in a row as there are profiles have each of them once."""
    every = profiles()
    return every[seed * _STRIDE % len(every)]


def variant_of(seed: int) -> tuple[ExecutionIdScope, bool]:
    """Return the scope of execution ids and whether requests are throttled, for a seed's place in its round."""
    return _VARIANTS[(seed // len(profiles()) + seed) % len(_VARIANTS)]
