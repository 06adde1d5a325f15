"""The link's plan: what is hurt follows from the seed and the request, and as often as the settings say."""

import math
import tomllib
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core.errors import CallerError, InvalidField, SettingsError
from onefill.sim import link_plan
from onefill.sim.link_plan import (
    PRESETS,
    REQUEST_KINDS,
    STREAM_KINDS,
    Fault,
    FaultKind,
    FaultRecord,
    LinkCounts,
    LinkPlan,
    LinkSettings,
    preset,
    read_settings,
)

SEEDS = st.integers(0, (1 << 63) - 1)
REQUESTS = st.lists(
    st.tuples(st.sampled_from([b"POST", b"DELETE"]), st.sampled_from([b"/a", b"/b?x=1"]), st.binary(max_size=2)),
    max_size=60,
)
DRAWS = 20_000


def storm(seed: int) -> LinkSettings:
    """Settings under which most requests are hurt, so that equal outcomes mean something."""
    return LinkSettings(seed=seed, **{kind.value: Decimal("0.11") for kind in REQUEST_KINDS})


def within(count: int, draws: int, rate: Fraction) -> bool:
    """Tell whether a count lies within six standard deviations of what its rate leads to expect."""
    return abs(count - draws * rate) <= 6 * math.sqrt(draws * rate * (1 - rate))


@given(SEEDS, REQUESTS, st.randoms(use_true_random=False))
def test_timing_does_not_choose(seed, requests, shuffler):
    """However requests are interleaved, each repeat of the same bytes meets the same fault."""

    def faults(order):
        plan = LinkPlan(storm(seed))
        found = {}
        for request in order:
            found.setdefault(request, []).append(plan.for_request(*request))
        return found

    shuffled = list(requests)
    shuffler.shuffle(shuffled)
    assert faults(requests) == faults(shuffled), f"seed {seed}"


@given(SEEDS)
def test_repeats_draw_anew(seed):
    """A repeat of a request is not doomed to the fault of the first: sixty repeats do not all meet one kind."""
    plan = LinkPlan(storm(seed))
    assert len({plan.for_request(b"POST", b"/orders", b"{}").kind for _ in range(60)}) > 1, f"seed {seed}"


@given(SEEDS, SEEDS)
def test_seed_matters(one, other):
    """Two seeds give the same run of faults only if they are the same seed."""
    runs = [
        [plan.for_request(b"POST", b"/orders", b"%d" % n) for n in range(40)]
        for plan in (LinkPlan(storm(one)), LinkPlan(storm(other)))
    ]
    assert (runs[0] == runs[1]) == (one == other), f"seeds {one}, {other}"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PRESETS)
def test_request_rates(name, seed):
    """Every kind comes as often as its rate says, in every preset."""
    chosen = preset(name, seed)
    plan = LinkPlan(chosen)
    seen = Counter(plan.for_request(b"POST", b"/orders", b"%d" % n).kind for n in range(DRAWS))
    for kind in (FaultKind.NONE, *REQUEST_KINDS):
        assert within(seen[kind], DRAWS, chosen.rate(kind)), f"preset {name}, seed {seed}, {kind}: {seen[kind]}"


@pytest.mark.parametrize("seed", range(5))
def test_other_rates(seed):
    """Refused connections, cut tunnels and hurt chunks come as often as their rates say."""
    chosen = preset("storm", seed)
    plan = LinkPlan(chosen)
    refused = sum(plan.for_connection(n).kind is FaultKind.REFUSE for n in range(DRAWS))
    assert within(refused, DRAWS, chosen.rate(FaultKind.REFUSE)), f"seed {seed}: {refused}"
    cut = sum(plan.for_tunnel(b"/stream") is not None for _ in range(DRAWS))
    assert within(cut, DRAWS, chosen.rate(FaultKind.STREAM_CUT)), f"seed {seed}: {cut}"
    chunks = Counter(plan.for_chunk(towards_client=True, data=b"x", raw=True).kind for _ in range(DRAWS))
    for kind in STREAM_KINDS:
        assert within(chunks[kind], DRAWS, chosen.rate(kind)), f"seed {seed}, {kind}: {chunks[kind]}"


@pytest.mark.parametrize(("name", "share"), [("calm", "0"), ("rough", "0.1"), ("storm", "0.3")])
def test_presets_hurt_as_described(name, share):
    """A rough link hurts one request in ten, a storm three, a calm one none; rough and storm use every kind."""
    chosen = preset(name)
    assert 1 - chosen.rate(FaultKind.NONE) == Fraction(share)
    used = {kind for kind in (FaultKind.REFUSE, *REQUEST_KINDS, *STREAM_KINDS) if chosen.rate(kind)}
    assert used == (set() if name == "calm" else set(FaultKind) - {FaultKind.NONE})


@given(SEEDS)
def test_certainty_is_exact(seed):
    """A probability of one always strikes, a probability of nought never does: there is no draw between."""
    always = LinkPlan(LinkSettings(seed=seed, refuse=Decimal(1), cut_after_request=Decimal(1), stream_cut=Decimal(1)))
    never = LinkPlan(LinkSettings(seed=seed))
    for n in range(20):
        assert always.for_request(b"GET", b"/", b"%d" % n).kind is FaultKind.CUT_AFTER_REQUEST, f"seed {seed}"
        assert always.for_connection(n).kind is FaultKind.REFUSE
        assert always.for_tunnel(b"/") is not None
        assert never.for_request(b"GET", b"/", b"%d" % n).kind is FaultKind.NONE
        assert never.for_connection(n).kind is FaultKind.NONE
        assert never.for_tunnel(b"/") is None
        assert never.for_chunk(towards_client=False, data=b"%d" % n, raw=True).kind is FaultKind.NONE


@given(SEEDS)
def test_duplicates_only_where_allowed(seed):
    """Only the methods named are doubled, and an upgrade never is."""
    plan = LinkPlan(LinkSettings(seed=seed, duplicate=Decimal(1), duplicate_methods=("POST",)))
    assert plan.for_request(b"POST", b"/", b"").kind is FaultKind.DUPLICATE
    assert plan.for_request(b"DELETE", b"/", b"").kind is FaultKind.NONE
    assert plan.for_request(b"POST", b"/", b"", upgrade=True).kind is FaultKind.NONE


@given(SEEDS, st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(sorted).map(tuple))
def test_delays_stay_in_their_span(seed, span):
    """A delay is never shorter or longer than the span set for it."""
    plan = LinkPlan(LinkSettings(seed=seed, delay_request=Decimal(1), delay_request_ms=span))
    for n in range(20):
        assert span[0] <= plan.for_request(b"POST", b"/", b"%d" % n).delay_ms <= span[1], f"seed {seed}"


@given(SEEDS)
def test_both_ends_of_a_span_happen(seed):
    """The least and the greatest value of a span are both possible."""
    plan = LinkPlan(LinkSettings(seed=seed, delay_reply=Decimal(1), delay_reply_ms=(3, 4)))
    assert {plan.for_request(b"POST", b"/", b"").delay_ms for _ in range(200)} == {3, 4}, f"seed {seed}"


@given(st.integers(0, (1 << 64) - 1), st.integers(2, 1 << 40))
def test_a_cut_is_inside(share, length):
    """A cut inside a reply passes some bytes and never all."""
    assert 1 <= Fault(FaultKind.CUT_INSIDE_REPLY, share=share).cut_point(length) < length


def test_a_tunnel_is_only_delayed_by_chunks():
    """Within a tunnel a chunk is never cut or swallowed; a raw connection knows both."""
    every = LinkSettings(stream_cut=Decimal("0.4"), stream_black_hole=Decimal("0.4"), stream_delay=Decimal("0.2"))
    for raw, kinds in ((False, {FaultKind.NONE, FaultKind.STREAM_DELAY}), (True, set(STREAM_KINDS))):
        plan = LinkPlan(every)
        assert {plan.for_chunk(towards_client=True, data=b"x", raw=raw).kind for _ in range(300)} == kinds


def test_identity_can_be_told():
    """Requests whose bytes differ in a signature can be made repeats of each other."""
    plan = LinkPlan(storm(1), lambda method, target, body: method + target.partition(b"?")[0] + body)
    other = LinkPlan(storm(1), lambda method, target, body: method + target.partition(b"?")[0] + body)
    signed = [plan.for_request(b"POST", b"/orders?signature=%d" % n, b"") for n in range(40)]
    assert signed == [other.for_request(b"POST", b"/orders", b"") for _ in range(40)]


def test_memory_is_bounded(monkeypatch):
    """Of very many identities the longest unseen are forgotten, and the rest still counted."""
    monkeypatch.setattr(link_plan, "REMEMBERED", 2)
    plan, fresh = LinkPlan(storm(3)), LinkPlan(storm(3))
    first = plan.for_request(b"POST", b"/a", b"")
    for path in (b"/b", b"/c", b"/d"):
        plan.for_request(b"POST", path, b"")
    assert plan.for_request(b"POST", b"/a", b"") == first
    fresh.for_request(b"POST", b"/d", b"")
    assert plan.for_request(b"POST", b"/d", b"") == fresh.for_request(b"POST", b"/d", b"")


def test_memory_keeps_what_still_comes(monkeypatch):
    """An identity seen lately is still counted when an older one is forgotten."""
    monkeypatch.setattr(link_plan, "REMEMBERED", 2)
    plan, alone = LinkPlan(storm(3)), LinkPlan(storm(3))
    repeats = [alone.for_request(b"POST", b"/a", b"") for _ in range(3)]
    assert repeats[2] != repeats[0]
    for path in (b"/a", b"/b", b"/a", b"/c"):
        plan.for_request(b"POST", path, b"")
    assert plan.for_request(b"POST", b"/a", b"") == repeats[2]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"refuse": Decimal("1.1")}, "refuse"),
        ({"duplicate": "-0.1"}, "duplicate"),
        ({"reorder": 0.5}, "reorder"),
        ({"black_hole": "often"}, "black_hole"),
        ({"delay_request": "0.6", "delay_reply": "0.6"}, "delay_request, delay_reply"),
        ({"stream_cut": 1, "stream_delay": 1}, "stream_cut, stream_delay"),
        ({"delay_request_ms": (5, 4)}, "delay_request_ms"),
        ({"black_hole_ms": (0, link_plan.MAX_MS + 1)}, "black_hole_ms"),
        ({"stream_cut_bytes": (1, 2, 3)}, "stream_cut_bytes"),
        ({"stream_delay_ms": 5}, "stream_delay_ms"),
        ({"reorder_ms": 1.5}, "reorder_ms"),
        ({"duplicate_methods": ("post",)}, "duplicate_methods"),
    ],
)
def test_bad_settings_name_the_field(data, field):
    """A value that cannot be used is refused, and the error names its field."""
    with pytest.raises(InvalidField) as caught:
        LinkSettings(**data)
    assert caught.value.field == field


def test_settings_from_a_file():
    """Settings can be read from TOML, with rates as text or plain numbers, exactly."""
    text = (
        'seed = 7\ncut_after_request = "0.02"\nduplicate = 0.1\ndelay_reply_ms = [1, 2]\nduplicate_methods = ["POST"]'
    )
    assert read_settings(tomllib.loads(text)) == LinkSettings(
        seed=7,
        cut_after_request=Decimal("0.02"),
        duplicate=Decimal("0.1"),
        delay_reply_ms=(1, 2),
        duplicate_methods=("POST",),
    )


@pytest.mark.parametrize("data", [{"sed": 1}, {"seed": "x"}, {"refuse": "2"}, {"delay_reply_ms": [1]}, []])
def test_bad_files_are_refused(data):
    """Unknown fields and wrong types in a file are the caller's error, never a crash."""
    with pytest.raises(CallerError):
        read_settings(data)


def test_unknown_field_is_named():
    """A misspelt setting is named."""
    with pytest.raises(SettingsError, match="sed"):
        read_settings({"sed": 1})


def test_unknown_preset():
    """An unknown preset is refused with the names of those there are."""
    with pytest.raises(InvalidField, match="calm, rough, storm"):
        preset("windy")


@settings(max_examples=20)
@given(SEEDS)
def test_preset_keeps_the_seed(seed):
    """A preset differs from its namesake only in the seed asked for."""
    assert preset("rough", seed) == msgspec.structs.replace(PRESETS["rough"], seed=seed)


def test_counts_as_plain_values():
    """The counts go into JSON as they are, and every kind is there even at nought."""
    counts = LinkCounts(requests=4)
    counts.kinds[FaultKind.DUPLICATE].injected = 1
    plain = msgspec.json.decode(msgspec.json.encode(counts.as_dict()))
    assert plain["hurt"] == 1
    assert plain["hurt_share"] == 0.25
    assert plain["kinds"]["duplicate"] == {"injected": 1, "effective": 0}
    assert set(plain["kinds"]) == {kind.value for kind in FaultKind if kind is not FaultKind.NONE}
    assert LinkCounts().hurt_share == 0


def test_refused_connections_are_not_hurt_requests():
    """The share of hurt requests counts requests only."""
    counts = LinkCounts(requests=2)
    counts.kinds[FaultKind.REFUSE].injected = 5
    counts.kinds[FaultKind.STREAM_DELAY].injected = 5
    assert counts.hurt == 0


def test_record_as_json():
    """A traced fault is one flat object."""
    record = FaultRecord(n=3, kind=FaultKind.REORDER, method="POST", path="/orders", effective=True)
    expected = {"n": 3, "kind": "reorder", "method": "POST", "path": "/orders", "effective": True}
    assert msgspec.to_builtins(record) == expected
