"""What counts as a sign of two holders, and what does not."""

import pytest

from onefill.core.identity import IdFormat, sequence_id, session_tag
from onefill.core.incident import IncidentKind
from onefill.core.split_brain import (
    MOST_REASON,
    HoldersSuspected,
    finding,
    reason,
    sign_of_fencing,
    sign_of_order,
    sign_of_session,
)


@pytest.mark.parametrize(
    ("left_us", "gave_back", "counts"),
    [
        (1, False, True),
        (4_000_000, False, True),
        (0, False, False),
        (None, False, False),
        (4_000_000, True, False),
        (0, True, False),
    ],
)
def test_being_fenced_is_a_sign_only_within_the_own_lease(left_us: int | None, gave_back: bool, counts: bool) -> None:
    """After its end, after giving back, and where nothing is lent, another owner is what the ledger is for."""
    sign = sign_of_fencing(left_us, 3, 4, gave_back=gave_back)
    assert (sign is not None) is counts


def test_a_sign_says_what_was_seen() -> None:
    """Both epochs, and how long the lease still lasted; an epoch that is not known is called that."""
    assert sign_of_fencing(1_500_000, 3, 4, gave_back=False) == (
        "epoch 3 was fenced by epoch 4 while its lease still lasted for 1.500 s by its holder's own clock: two processes "
        "could have sent at the same time"
    )
    assert "epoch unknown" in (sign_of_fencing(1, 3, None, gave_back=False) or "")
    assert sign_of_session("logged on elsewhere", 7).endswith("in epoch 7: logged on elsewhere")


def test_all_suspicions_of_a_route_are_one_incident_with_a_line_each() -> None:
    """Of the same kind and subject, so that at most one is open; each names who had what epoch; texts are bounded."""
    told = [HoldersSuspected(n, n, f"h{n}", "odd " * 300) for n in (1, 2)]
    found = [finding("X", one) for one in told]
    assert {(one.kind, one.subject) for one in found} == {(IncidentKind.SPLIT_BRAIN, "")}
    assert [one.evidence[0].partition(":")[0] for one in found] == ["h1 (epoch 1)", "h2 (epoch 2)"]
    assert all(len(text) <= MOST_REASON for one in found for text in (one.summary, *one.evidence))
    assert len(reason(told[0])) <= MOST_REASON


def test_an_order_of_this_route_that_the_ledger_does_not_know_is_a_sign() -> None:
    """By the tag of ledger and route in its id, whatever the epoch; others' ids, and those that say nothing, are none."""
    form, seed = IdFormat(), bytes(16)
    session = session_tag(seed, "X", 7)

    def made(seed: bytes, route: str, epoch: int, form: IdFormat = form) -> str:
        return sequence_id("mm", "20250616", session_tag(seed, route, epoch), 12, form)

    for epoch in (6, 7, 8):
        sign = sign_of_order(made(seed, "X", epoch), form, session)
        assert sign is not None
        assert f"under epoch {epoch}" in sign
    text = made(seed, "X", 7)
    others = [
        made(seed, "Y", 7),
        made(bytes(15) + b"1", "X", 7),
        text[:-1] + ("a" if text[-1] != "a" else "b"),
        "",
        "web-1",
        text[1:],
    ]
    assert [sign_of_order(one, form, session) for one in others] == [None] * len(others)
    short = IdFormat(max_length=20)
    assert sign_of_order(made(seed, "X", 7, short), short, session) is None
