"""What a gateway's role may do in a PostgreSQL ledger: add to the record and move what moves, and no more."""

from typing import Any

WRITTEN = (
    *(
        "route",
        "intent",
        "attempt",
        "replacement",
        "operation",
        "execution",
        "position",
        "cursor",
        "journal",
        "journal_day",
    ),
    *("incident", "control", "opening_position", "checkpoint", "subscription", "subscription_stopped", "inbox", "step"),
    *("suspicion", "hand_over"),
)
"""Tables that a gateway adds rows to."""
_MOVES = {
    "route": "epoch, holder, venue, acquired_at_us, lease_until_us, last_number, last_sequence, last_execution, "
    "folded_through, head",
    "intent": "status, version, cum_quantity, venue_cum_quantity, venue_order_id, reason, anomaly, parked, cancel_wanted, "
    "closed, answer, reversed_quantity, replaced, last_day",
    "attempt": "outcome, reason, retry_at_us",
    "replacement": "quantity, original_over, outcome, since_us, version",
    "operation": "answer",
    "position": "bought, sold, bought_value, sold_value, cost, fees, executions",
    "cursor": "position",
    "incident": "open, version, body",
    "control": "state, version, body",
    "subscription": "position",
    "subscription_stopped": "position, incident",
    "hand_over": "node, asked_by, at_us",
    "step": "attempt, begun_at_us, result, done_at_us, arguments",
}
"""Columns that change. What an order was wanted as, its keys, its ids and every log are not among them."""


async def grant(connection: Any, schema: str, role: str) -> None:
    """Let a role write the ledger as a gateway does. Part of the caller's transaction; raises what the driver raises."""
    name = await connection.fetchval("SELECT quote_ident($1)", role)
    owner = await connection.fetchval("SELECT quote_ident(current_user)")
    tables = ", ".join(f"{schema}.{table}" for table in WRITTEN)
    statements = [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name}",
        f"GRANT USAGE ON SCHEMA {schema} TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}",
        f"GRANT INSERT ON {tables} TO {name}",
        *(f"GRANT UPDATE ({columns}) ON {schema}.{table} TO {name}" for table, columns in _MOVES.items()),
        f"GRANT DELETE ON {schema}.subscription_stopped, {schema}.hand_over TO {name}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {name}",
        # The partitions of days to come are read by their names.
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {name}",
    ]
    for statement in statements:
        await connection.execute(statement)
