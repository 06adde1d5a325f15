"""Every exception Onefill raises. The type says whose fault it is; the text says what, where, what to do, and how things stand.

* :class:`CallerError`: the request is wrong; nothing was recorded or sent unless the text says so.
* :class:`LedgerError`: the record cannot be read or written; new exposure stops until it can.
* :class:`VenueError`: a venue (or the way to it) does not do what is needed.
* :class:`CallbackRefused`: what somebody outside sent was not taken in; the type says whether it is to be sent again.
* :class:`OrderUncertain`: nobody's fault yet; the order's fate is not known. Ask again with the same key.
* :class:`InvariantBroken`: a defect in Onefill itself.
"""


class OnefillError(Exception):
    """Base of every exception raised on purpose."""


class CallerError(OnefillError):
    """The request, file or setting handed in is wrong. Nothing was sent."""


class InvalidField(CallerError):
    """One field has a value that cannot be used."""

    def __init__(self, field: str, problem: str, *, line: int | None = None) -> None:
        self.field = field
        self.problem = problem
        self.line = line
        where = f"line {line}, {field}" if line is not None else field
        super().__init__(f"{where}: {problem}")

    def at_line(self, line: int) -> "InvalidField":
        """Return the same error, naming the line of the file it came from."""
        return InvalidField(self.field, self.problem, line=line)


class KeyReused(CallerError):
    """A key came back with other content. The first order stands; nothing new was recorded or sent.

    Only the *name* of the first differing field is told, never a value (another caller's order may be behind the key).
    """

    def __init__(self, key: str, field: str) -> None:
        self.key = key
        self.field = field
        super().__init__(
            f"key {key!r} already belongs to an order whose {field} differs; the first order stands and nothing was sent. "
            "Use a new key for a new order, or repeat the first one unchanged"
        )


class UnknownKey(CallerError):
    """No order was ever recorded under this key for this account and strategy."""

    def __init__(self, key: str, account: str, strategy: str) -> None:
        self.key = key
        super().__init__(
            f"no order under key {key!r} for account {account!r}, strategy {strategy!r}; nothing was changed. "
            "Keys belong to one account and strategy: check both"
        )


class UnknownVenue(CallerError):
    """The intent names a venue that this gateway has no route to."""

    def __init__(self, venue: str, known: list[str]) -> None:
        self.venue = venue
        self.known = known
        super().__init__(f"venue: {venue!r} is not configured; configured here: {', '.join(sorted(known)) or 'none'}")


class CannotReplace(CallerError):
    """The order cannot be given other quantity or price. Nothing was recorded or sent; the order goes on as it is."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        super().__init__(f"order {key!r} cannot be replaced: {problem}. Nothing was changed")


class ContradictsEvidence(CallerError):
    """What a person says of an order cannot be true by the evidence there is. Nothing was changed."""

    def __init__(self, key: str, evidence: str) -> None:
        self.key = key
        self.evidence = evidence
        super().__init__(f"order {key!r} stays as it is: {evidence}")


class SettingsError(CallerError):
    """A settings file cannot be used."""


class LedgerError(OnefillError):
    """The ledger cannot be used. New exposure stops until it can."""


class NotALedger(LedgerError):
    """The file exists and is something else (or is damaged beyond reading)."""


class LedgerTooNew(LedgerError):
    """The file was written by a newer Onefill. It was left untouched."""


class LedgerInUse(LedgerError):
    """Another process has the ledger open for writing."""


class LedgerFailed(LedgerError):
    """A write or sync failed. What was acknowledged before is safe; this ledger object takes nothing more."""


class EntriesArchived(LedgerError):
    """Journal entries that were asked for are in the archive. Nothing was changed."""

    def __init__(self, route: str, sequence: int, file: str, last: int) -> None:
        self.route = route
        self.sequence = sequence
        self.file = file
        super().__init__(
            f"route {route!r}: entry {sequence} is archived, in the file {file}; what the ledger holds begins with entry "
            f"{last + 1}. Name the archive's folder with --archive where the command takes one, or ask for later entries"
        )


class CannotArchive(CallerError):
    """Something still needs a day's entries, or they cannot be proved. The day stays as it is."""


class Fenced(LedgerError):
    """A later owner has taken the route: this one may write and send nothing more (promise ONE-WRITER)."""

    def __init__(self, route: str, epoch: int, current: int | None) -> None:
        self.route = route
        self.epoch = epoch
        self.current = current
        super().__init__(
            f"route {route!r}: epoch {epoch} is over (now {current}); another owner took the route. "
            "Nothing was written; stop this process or open the ledger again"
        )


class LeaseHeld(LedgerError):
    """Another process holds the route's lease. Nothing was changed."""

    def __init__(self, route: str, holder: str, left_s: float) -> None:
        self.route = route
        self.holder = holder
        self.left_s = left_s
        super().__init__(
            f"route {route!r} is lent to {holder} for another {left_s:.1f} s. Nothing was changed; it can be taken when that "
            "lease ends without being renewed"
        )


class LedgerAltered(LedgerError):
    """The audit chain does not hold: an entry was changed, dropped or moved after it was written."""


class VenueError(OnefillError):
    """The venue, or the way to it, does not do what is needed."""


class SecondSession(VenueError):
    """The venue says that somebody else has a session for this account too, or took this one's place."""


class RouteClosed(OnefillError):
    """The route takes no new exposure now (promise FAIL-CLOSED). The text says why and what reopens it."""


class OtherVenue(RouteClosed):
    """The route's venue is not the one that this ledger has traded with: its orders and executions are not there."""

    def __init__(self, route: str) -> None:
        self.route = route
        super().__init__(
            f"route {route!r}: the venue is not the one this ledger has traded with (another address, or an exchange that "
            "was started anew and has forgotten everything). Nothing was sent, since every open order would look absent "
            "there. Use the venue of this ledger, or a new ledger"
        )


class CallbackRefused(OnefillError):
    """A callback from outside was not taken in; no execution or order was changed by it."""


class NotVerified(CallbackRefused):
    """Nothing shows that the callback comes from who it should. The text never holds a secret or a right signature."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the callback is not verified: {problem}. Nothing was read of it or changed")


class CallbackUnreadable(CallbackRefused):
    """A callback that is genuine says nothing that can be understood. Sending it again does not help."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the callback is genuine and cannot be read: {problem}. Nothing was changed; what it tells has to come by the "
            "execution stream, or be told again in a form that is known"
        )


class CallbackContradicts(CallbackRefused):
    """A callback came with the id of an earlier one and another body. The first one stands; an incident is open."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(
            f"callback {event_id!r} was taken in before with another body. The first one stands and nothing of this one was "
            "applied; an incident is open about it. A new event needs an id of its own"
        )


class CallbackNotHere(CallbackRefused):
    """This process cannot take the callback in now: it is to be sent again, here later or where the route is held."""

    def __init__(self, venue: str, reason: str) -> None:
        self.venue = venue
        super().__init__(
            f"the callback for {venue!r} was not taken in: {reason}. Nothing was changed: send the same again, with its id"
        )


class StepReused(CallerError):
    """A step came back with other arguments than it was begun with. Nothing was carried out."""

    def __init__(self, key: str, step: str) -> None:
        self.key = key
        self.step = step
        super().__init__(
            f"step {step!r} of {key!r} was begun with other arguments, and those stand; nothing was carried out. Another "
            "piece of work needs another key or another name for the step"
        )


class StepInDoubt(OnefillError):
    """A step was begun and its end is not known: it may have had its effect. Nothing was carried out now."""

    def __init__(self, key: str, step: str, attempt: int) -> None:
        self.key = key
        self.step = step
        self.attempt = attempt
        super().__init__(
            f"step {step!r} of {key!r} was begun {attempt} time{'s' if attempt > 1 else ''} and never ended: it may have had "
            "its effect. Nothing was carried out now. Find out, then call it again without repeat=False, with a function "
            "that returns what the effect was, or has it"
        )


class StepFailed(OnefillError):
    """A step ended with an error that was kept as its outcome: every call under its key is told the same."""

    def __init__(self, key: str, step: str, kind: str, message: str) -> None:
        self.key = key
        self.step = step
        self.kind = kind
        self.message = message
        super().__init__(f"step {step!r} of {key!r} ended with {kind}: {message}. That is its outcome, and is kept")


class StepResultRefused(CallerError):
    """What a step returned cannot be kept. The step was carried out and stays open: the next call carries it out again."""

    def __init__(self, key: str, step: str, problem: str) -> None:
        self.key = key
        self.step = step
        super().__init__(
            f"step {step!r} of {key!r} was carried out, and its result cannot be kept: {problem}. It counts as not done: "
            "return something that can be kept; the next call does it again under the same idempotency key"
        )


class LeaseLost(RouteClosed):
    """The route is not held here now: its lease ran out, or it is being handed over."""

    def __init__(self, route: str, reason: str) -> None:
        self.route = route
        super().__init__(
            f"route {route!r}: {reason}. Nothing new is taken or sent here; what was recorded stands, and goes on wherever the "
            "route is held"
        )


class RouteElsewhere(RouteClosed):
    """Another process holds the route, or nobody yet. Call again with the same key, here or there: nothing is done twice."""

    def __init__(self, route: str, holder: str | None, found: str) -> None:
        self.route = route
        self.holder = holder
        who = "held by nobody" if holder is None else f"held by {holder}"
        super().__init__(
            f"route {route!r} is {who} and not here. {found}. Call again with the same key, here or there: nothing is done "
            "twice"
        )


class OrderUncertain(OnefillError):
    """The order may or may not be at the venue; asking goes on in the background.

    Submit again with the same key to wait for the answer: nothing is sent twice.
    """

    def __init__(self, key: str, client_order_id: str, detail: str) -> None:
        self.key = key
        self.client_order_id = client_order_id
        super().__init__(
            f"order {key!r} ({client_order_id}) is UNCERTAIN: {detail}. It may be live at the venue. "
            "Submit again with the same key to wait for its answer; do not use a new key"
        )


class KeyMissing(CallerError):
    """A guarded call brought no key. Nothing was recorded or sent."""


class DerivedKeyWarning(UserWarning):
    """A guarded call brought no key, and one was made from what it says, where it stands and when."""


class NotGuarded(CallerError):
    """A guarded client was asked for something that the guard cannot make safe to repeat. Nothing was sent.

    ``what``: the method or parameter.
    """

    def __init__(self, what: str, problem: str) -> None:
        self.what = what
        super().__init__(problem)


class OrderRefused(OnefillError):
    """A risk gate refused the order, and it was never sent. That is its answer for ever: another try needs a new key."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(
            f"order {key!r} was refused by a risk gate: {reason}. Nothing was sent, and nothing will be under this key; what "
            "is wanted anew needs a new one"
        )


class OrderNotSent(OnefillError):
    """The order ended without having been sent: its time ran out first, or it was cancelled. A new try needs a new key."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(
            f"order {key!r} was never sent: {reason}. Nothing is at the venue, and nothing will be under this key; what is "
            "wanted anew needs a new one"
        )


class InvariantBroken(OnefillError):
    """Onefill found itself in a state its rules forbid. A defect: please report it with the text."""


def require(condition: object, message: str) -> None:
    """Raise :class:`InvariantBroken` unless ``condition`` holds. Unlike ``assert`` it also holds under ``python -O``."""
    if not condition:
        raise InvariantBroken(message)
