"""The one statement that groups of changes are written with."""

PARTS = (
    ("", ("bigint",) * 4 + ("bytea",) + ("bigint",) * 2),
    (
        "intents",
        (
            *("bigint", "bigint", "bytea", "text", "text", "text", "text", "integer", "bytea", "text", "bigint"),
            *("bigint", "text", "text", "smallint", "text", "integer"),
        ),
    ),
    ("claims", ("bigint", "smallint", *["bigint"] * 5, "text", "text", "bigint")),
    ("settled", ("bigint", "smallint", "bigint", "text", "text", "bigint")),
    (
        "updates",
        ("bigint", "bigint", "text", "bigint", *["text"] * 5, *["smallint"] * 3, "text", "smallint", "text", "integer"),
    ),
    ("cursors", ("bigint", "text", "bigint", "bigint")),
    ("executions", ("bigint", "bigint", "text", "text", "bigint", *["text"] * 8, "bigint", "bigint", *["text"] * 5)),
    ("journal", ("bigint", "bigint", "text", "text", "bigint", "bigint", "bytea", "bytea", "integer")),
)
"""The parameters of ``commit_group``: tables and the types of their columns, as in the schema."""


def _call() -> str:
    types = [kind for _, kinds in PARTS for kind in kinds]
    listed = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, start=2))
    return f"SELECT commit_group($1::boolean, {listed}, ${len(types) + 2}::text)"


CALL = _call()
"""Commits a group: one round trip."""
