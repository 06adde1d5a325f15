"""Worlds with several nodes: what befalls them, what is counted, and what is judged of them."""

import functools

from onefill.core.messages import CancelRequest
from onefill.sim.checkers import CHECKS
from onefill.sim.checkers_index import Index, Violation
from onefill.sim.history import (
    Acquired,
    Commit,
    Delivered,
    Ended,
    History,
    Leased,
    Moved,
    Record,
    Sent,
    Suspected,
    ToldThrough,
)
from onefill.sim.simulate import run_worlds, seeds_of, shortcomings
from onefill.sim.simulate_nodes import NODE_COUNTS
from onefill.sim.simulate_tally import Tally
from onefill.sim.world import Run
from onefill.sim.world_plan import plan


@functools.cache
def _some() -> Tally:
    return run_worlds(seeds_of(0, 240, "nodes-"), stop_at_first=False)


def test_nodes_keep_every_promise_whatever_befalls_them() -> None:
    """240 worlds of two and three nodes, which are paused, cut off, killed and handed over, break no promise."""
    assert _some().broken == []
    assert set(_some().nodes) == {"nodes-2", "nodes-3"}


def test_what_befalls_nodes_is_counted_by_their_number() -> None:
    """Nodes that stood still for longer than their lease, late and refused writes, lost replies: each is counted."""
    for counts in _some().nodes.values():
        for name in ("takeovers", "hand-overs", "outlived by", "cut off", "refused writes", "lost replies"):
            assert counts[name] > 0, name
    assert sum(counts["worlds"] for counts in _some().nodes.values()) == 240


def test_a_run_whose_nodes_met_nothing_fails() -> None:
    """A count of node worlds that stays zero is a shortcoming of the run."""
    tally = run_worlds(seeds_of(0, 1, "nodes-3"))
    tally.nodes["nodes-3"]["worlds"] = 1000
    tally.nodes["nodes-3"]["late writes"] = 0
    assert "nodes-3: no late writes" in shortcomings(tally, complete=False)


def test_a_world_is_named_by_its_nodes() -> None:
    """``--only nodes-3`` runs worlds with three nodes, and a world says how many it has."""
    for seed in seeds_of(0, 5, "nodes-3"):
        assert plan(seed).hosts == 3
        assert "/nodes-3" in plan(seed).name
    for seed in seeds_of(0, 3, "forgetful"):
        assert plan(seed).nodes.forgotten_at_s is not None
    for seed in seeds_of(0, 3, "own-time"):
        assert plan(seed).nodes.own_time
    assert seeds_of(0, 5, "nodes-4") == []


def _judged(*records: Record, promise: str = "ONE-WRITER") -> list[Violation]:
    history = History()
    history.records += records
    run = Run(plan=plan(0), history=history, born={})
    return CHECKS[promise](Index(run)).violations


def _sent(at_us: int, epoch: int, begun_us: int) -> Sent:
    request = CancelRequest(client_order_id="c", account="A", instrument="ACME", venue_order_id=None)
    return Sent(at_us, 1, 1, epoch, begun_us, request)


def test_one_writer_is_judged_by_the_worlds_own_time() -> None:
    """A send that began after the lease was over, given back or another's, and a write of an old epoch, are seen."""
    own, other = Acquired(0, 1, 1, 1_000), Acquired(2_000, 2, 2, 3_000)
    assert _judged(own, _sent(900, 1, 900), Leased(950, 1, 1, 1_950), _sent(1_900, 1, 1_900)) == []
    assert _judged(own, other, _sent(2_100, 1, 1_000)) == [], "it began in time, and its process was stopped"
    assert len(_judged(own, _sent(1_100, 1, 1_100))) == 1, "over by the ledger's clock, and nobody else's yet"
    assert len(_judged(own, Leased(500, 1, 1, None), _sent(600, 1, 600))) == 1, "given back"
    assert len(_judged(own, other, _sent(2_100, 1, 2_050))) == 1, "another's"
    assert len(_judged(own, Acquired(500, 2, 2, 3_000))) == 1, "lent to another before it was over"
    assert len(_judged(own, other, Leased(2_100, 1, 1, 3_100))) == 1, "renewed for one who has lost it"
    assert len(_judged(own, other, Moved(2_100, 1, 1, "cursor"))) == 1
    late = Commit(2_100, 1, 1, 5, "recorded", "[]", None, ())
    assert len(_judged(own, other, late)) == 1


def _told(sequence: int, lane: int, name: str = "", digest: str = "d") -> Delivered:
    return Delivered(sequence, 1, sequence, lane, name or f"id{sequence}", digest)


def test_told_once_sees_what_is_told_wrongly() -> None:
    """Another order of an order's events, another id or body for the same entry, one id for two, and a place too far ahead."""
    well = (_told(1, 0), _told(3, 7), _told(2, 0), _told(3, 7), ToldThrough(9, 1, 1, 3))
    assert _judged(*well, promise="TOLD-ONCE") == []
    assert len(_judged(_told(3, 7), _told(2, 7), promise="TOLD-ONCE")) == 1
    assert len(_judged(_told(1, 0), _told(1, 0, "other"), promise="TOLD-ONCE")) == 1
    assert len(_judged(_told(1, 0), _told(1, 0, digest="e"), promise="TOLD-ONCE")) == 1
    assert len(_judged(_told(1, 0), _told(2, 0, "id1"), promise="TOLD-ONCE")) == 1
    assert len(_judged(_told(1, 0), ToldThrough(9, 1, 1, 2), promise="TOLD-ONCE")) == 1


def test_split_brain_sees_silence_and_false_alarms() -> None:
    """Who lost a route while the own lease lasted has to say so; who did not lose it so must not."""
    early = (Acquired(0, 1, 1, 5_000_000), Acquired(1_000_000, 2, 2, 6_000_000))
    in_time = (Acquired(0, 1, 1, 500_000), Acquired(1_000_000, 2, 2, 6_000_000))
    said = Suspected(1_100_000, 1, 1, "fenced")
    assert _judged(*early, said, promise="SPLIT-BRAIN") == []
    assert len(_judged(*early, promise="SPLIT-BRAIN")) == 1
    assert _judged(*early, Ended(1_050_000, 1, killed=True, why="crash"), promise="SPLIT-BRAIN") == []
    assert _judged(*in_time, promise="SPLIT-BRAIN") == []
    assert len(_judged(*in_time, said, promise="SPLIT-BRAIN")) == 1


def test_every_count_of_nodes_has_a_name_of_its_own() -> None:
    """The report has a column for each."""
    assert len(set(NODE_COUNTS)) == len(NODE_COUNTS)
