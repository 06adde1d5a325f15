"""The rows of a group of changes, by table: what a database ledger writes, however it writes it."""

from onefill.core.identity import key_digest
from onefill.core.order import Order
from onefill.ledger import sqlite_rows as rows
from onefill.ports.ledger import Change, CursorMove, Operation, SubscriptionMove


class Conflict(Exception):
    """A change does not follow from what was before it, or a statement touched fewer rows than it was given."""


def digest_of(operation: Operation) -> bytes:
    """Return the digest of the key that an operation belongs to."""
    return key_digest(operation.account, operation.strategy, operation.key)


class Batch:
    """The rows of a group of changes, by table."""

    __slots__ = (
        "answered",
        "claims",
        "controls",
        "cursors",
        "executions",
        "inbox",
        "incidents",
        "opened",
        "opening",
        "replacements",
        "settled",
        "steps",
        "subscriptions",
        "updates",
    )

    def __init__(self) -> None:
        self.updates: dict[int, rows.Row] = {}
        self.claims: list[rows.Row] = []
        self.settled: dict[tuple[int, int, int], rows.Row] = {}
        self.replacements: list[rows.Row] = []
        self.opened: list[rows.Row] = []
        self.answered: list[rows.Row] = []
        self.executions: list[rows.Row] = []
        self.cursors: dict[tuple[int, str], CursorMove] = {}
        self.incidents: list[rows.Row] = []
        self.controls: list[rows.Row] = []
        self.opening: list[rows.Row] = []
        self.subscriptions: list[tuple[int, SubscriptionMove]] = []
        self.inbox: list[rows.Row] = []
        self.steps: list[rows.Row] = []

    def add(self, change: Change, route_id: int) -> None:
        """Add a change's rows, but for that of a new intent. Raises Conflict if it does not follow from an earlier one."""
        order = change.order
        if order is not None:
            if change.new is None:
                self._update(order)
            for claim in change.claims:
                self.claims.append(rows.claim_row(order.intent_id, change.epoch, claim))
            for claim in change.settled:
                row = rows.claim_row(order.intent_id, change.epoch, claim)
                self.settled[row[0], row[1], row[2]] = row
            if change.replacement is not None:
                self.replacements.append(rows.replacement_row(route_id, order.intent_id, change.replacement))
        for operation in change.opened:
            self.opened.append(rows.operation_row(digest_of(operation), operation))
        for operation in change.answered:
            self.answered.append(rows.operation_row(digest_of(operation), operation))
        if change.execution is not None:
            self.executions.append(rows.execution_row(route_id, change, change.execution))
        if change.cursor is not None:
            self._move(route_id, change.cursor)
        self._oversee(change, route_id)

    def _oversee(self, change: Change, route_id: int) -> None:
        """Add what hardly any change has."""
        if change.subscription is not None:
            self.subscriptions.append((route_id, change.subscription))
        if change.inbox is not None:
            self.inbox.append(rows.inbox_row(route_id, change.inbox, change.at_us))
        if change.step is not None:
            self.steps.append(rows.step_row(route_id, change.step))
        if change.incidents:
            self.incidents += [rows.incident_row(route_id, incident) for incident in change.incidents]
        if change.control is not None:
            self.controls.append(rows.control_row(route_id, change.control))
        if change.opening:
            self.opening += [rows.opening_row(route_id, opening, change.at_us) for opening in change.opening]

    def _update(self, order: Order) -> None:
        row = rows.update_row(order, order.version - 1)
        earlier = self.updates.get(order.intent_id)
        if earlier is not None:
            if earlier[3] != row[1]:
                raise Conflict
            row[1] = earlier[1]
        self.updates[order.intent_id] = row

    def _move(self, route_id: int, move: CursorMove) -> None:
        earlier = self.cursors.get((route_id, move.stream))
        if earlier is not None:
            if earlier.position != move.previous:
                raise Conflict
            move = CursorMove(move.stream, earlier.previous, move.position)
        self.cursors[route_id, move.stream] = move

    def rare(self) -> dict[str, list[rows.Row]]:
        """Return the rows that hardly any change has, by name; those without rows are left out."""
        subscriptions: list[rows.Row] = [
            [
                *(route_id, move.subscriber, move.previous, move.position),
                [[lane.intent_id, lane.position, lane.incident] for lane in move.stopped],
                list(move.freed),
            ]
            for route_id, move in self.subscriptions
        ]
        found = {
            "replacements": self.replacements,
            "opened": self.opened,
            "answered": self.answered,
            "incidents": self.incidents,
            "controls": self.controls,
            "opening": self.opening,
            "subscriptions": subscriptions,
            "inbox": self.inbox,
            "steps": self.steps,
        }
        return {name: listed for name, listed in found.items() if listed}
