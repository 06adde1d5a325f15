"""Client order ids: they fit, do not collide, are the same on every host, and a foreign one is noticed."""

import itertools
import re

import pytest
from core_kit import SEEDED
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import identity
from onefill.core.errors import InvalidField, InvariantBroken
from onefill.core.identity import (
    Alphabet,
    IdFormat,
    derived_id,
    key_digest,
    made_here,
    replacement_id,
    sequence_id,
    session_tag,
)

TEXT_36 = IdFormat()
ALNUM_32 = IdFormat(alphabet=Alphabet.ALPHANUMERIC, max_length=32)
HEX_32 = IdFormat(alphabet=Alphabet.HEX, max_length=32)
PREFIXED = IdFormat(alphabet=Alphabet.HEX, max_length=34, prefix="0x")
TEXT_18 = IdFormat(max_length=18)
FORMATS = {
    "text 36": (TEXT_36, r"[A-Za-z0-9-]{1,36}"),
    "alphanumeric 32": (ALNUM_32, r"[A-Za-z0-9]{32}"),
    "hex 32": (HEX_32, r"[0-9a-f]{32}"),
    "0x + hex 32": (PREFIXED, r"0x[0-9a-f]{32}"),
    "text 18": (TEXT_18, r"[A-Za-z0-9-]{1,18}"),
}
ALPHABETS = {
    Alphabet.TEXT: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-",
    Alphabet.ALPHANUMERIC: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    Alphabet.HEX: "0123456789abcdef",
}
DAY, SESSION = "20260314", session_tag(b"ledger", "venue", 1)
every_format = pytest.mark.parametrize("name", FORMATS)
strategies = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}", fullmatch=True)
keys = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=200)


@every_format
@SEEDED
@given(
    strategy=strategies,
    seed=st.binary(max_size=16),
    epoch=st.integers(1, 10**9),
    sequence=st.integers(1, 2**40),
    key=keys,
)
def test_ids_always_fit_the_venue(name: str, strategy: str, seed: bytes, epoch: int, sequence: int, key: str) -> None:
    """Ids of both schemes keep to charset and length, whatever the strategy, epoch, number or key, and know themselves."""
    form, pattern = FORMATS[name]
    for made in (
        sequence_id(strategy, DAY, session_tag(seed, "venue", epoch), sequence, form),
        derived_id("A", strategy, key, form),
    ):
        assert re.fullmatch(pattern, made), made
        assert made_here(made, form)


@every_format
def test_200_000_ids_do_not_collide(name: str) -> None:
    """Among 200,000 ids of the shortest format (40,000 of each other one) none comes twice, in either scheme."""
    form, _ = FORMATS[name]
    count = 200_000 if form is TEXT_18 else 40_000
    assert len({sequence_id("momentum", DAY, SESSION, number, form) for number in range(1, count + 1)}) == count
    assert len({derived_id("A", "momentum", f"k{number}", form) for number in range(count)}) == count


@every_format
def test_a_changed_character_is_caught_as_often_as_the_checksum_can(name: str) -> None:
    """A change in the checksum is always caught; one elsewhere passes once in 2^15 (hexadecimal: 2^12), no more.

    That is the honest probability of three checksum characters; over all single changes of 60 ids the count of those
    that pass stays within what chance allows.
    """
    form, _ = FORMATS[name]
    odds = 2**12 if form.alphabet is Alphabet.HEX else 2**15
    tried = passed = 0
    for number in range(60):
        made = sequence_id("momentum", DAY, SESSION, number + 1, form)
        for place in range(len(form.prefix), len(made)):
            for letter in ALPHABETS[form.alphabet]:
                if letter == made[place]:
                    continue
                known = made_here(made[:place] + letter + made[place + 1 :], form)
                if place >= len(made) - identity.CHECK_LENGTH:
                    assert not known
                else:
                    tried += 1
                    passed += known
    assert passed <= 3 * tried / odds + 5, f"{passed} of {tried} changes passed"


@every_format
@pytest.mark.parametrize(
    "foreign", ["", "-", "--", "abc", "0x", "x" * 18, "0" * 32, "1-2-3-4-5", "my-own-order-id", "é"]
)
def test_foreign_ids_are_told_apart(name: str, foreign: str) -> None:
    """Ids of other makes, and malformed ones, are not taken for ours."""
    assert not made_here(foreign, FORMATS[name][0])


@every_format
def test_an_id_of_one_format_cut_short_is_not_ours(name: str) -> None:
    """An id that a venue truncated or extended does not pass."""
    form, _ = FORMATS[name]
    made = sequence_id("momentum", DAY, SESSION, 1, form)
    assert not made_here(made[:-1], form)
    assert not made_here(made + "0", form)
    assert not made_here(made[1:], form)


@every_format
@pytest.mark.parametrize(
    "pair", [("momentum-1", "momentum-2"), ("Mo.men.tum", "Momentum"), ("x", "x.-"), ("moment", "momentum")]
)
def test_strategies_that_shorten_alike_do_not_collide(name: str, pair: tuple[str, str]) -> None:
    """Strategies whose short names are equal make different ids: by number on one route, by hash for derived ids.

    The hashed spellings take in the whole name; the readable one relies on the number, which no two intents share.
    """
    form, _ = FORMATS[name]
    ids = [sequence_id(pair[number % 2], DAY, SESSION, number + 1, form) for number in range(2000)]
    assert len(set(ids)) == 2000
    assert derived_id("A", pair[0], "k", form) != derived_id("A", pair[1], "k", form)
    if form is not TEXT_36:
        assert sequence_id(pair[0], DAY, SESSION, 1, form) != sequence_id(pair[1], DAY, SESSION, 1, form)


@every_format
def test_ledgers_epochs_days_and_numbers_are_kept_apart(name: str) -> None:
    """The same number under another ledger seed, epoch or day makes another id."""
    form, _ = FORMATS[name]
    seeds, epochs, days = (b"one", b"two", b""), (1, 2, 11, 111), ("20260314", "20260315")
    ids = [
        sequence_id("s", day, session_tag(seed, "venue", epoch), number, form)
        for seed, epoch, day, number in itertools.product(seeds, epochs, days, (1, 2, 11, 111))
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("strategy", ["éclair", "\u0441trategy", "\uff21lpha", "²", "-._", ""])
def test_a_strange_strategy_cannot_break_the_charset(strategy: str) -> None:
    """Letters and digits outside ASCII never get into an id, whatever the strategy is called."""
    assert re.fullmatch(FORMATS["text 36"][1], sequence_id(strategy, DAY, SESSION, 1, TEXT_36))


def test_a_session_tag_tells_epoch_and_seed_apart() -> None:
    """A tag is four characters of the seed and then the epoch, so that no two epochs of a ledger share one."""
    tags = [session_tag(b"ledger", "venue", epoch) for epoch in range(1, 2000)]
    assert len(set(tags)) == len(tags)
    assert {tag[:4] for tag in tags} == {SESSION[:4]}
    assert all(tag[4:] == str(epoch) for epoch, tag in enumerate(tags, 1))
    assert session_tag(b"other ledger", "venue", 1) != SESSION
    assert session_tag(b"ledger", "other venue", 1) != SESSION


def test_1000_ledgers_seldom_share_a_tag() -> None:
    """Tags carry 20 bits of the seed: among 1,000 ledgers one pair in a million shares one, hardly any here."""
    assert len({session_tag(str(number).encode(), "venue", 1) for number in range(1000)}) >= 998


@every_format
def test_a_derived_id_is_the_same_on_every_host(name: str) -> None:
    """The id depends on account, strategy, key and format alone, and on each of the three."""
    form, _ = FORMATS[name]
    again = IdFormat(alphabet=form.alphabet, max_length=form.max_length, prefix=form.prefix)
    made = derived_id("A", "s", "k", form)
    assert derived_id("A", "s", "k", again) == made
    others = {
        derived_id(*parts, form) for parts in (("B", "s", "k"), ("A", "t", "k"), ("A", "s", "l"), ("As", "", "k"))
    }
    assert made not in others
    assert len(others) == 4


PINNED = {
    "text 36": ("moment-20260314-abcd1-42-5yq", "yhe9gx7bscqrdcdttsv45bx5pfxtc226"),
    "alphanumeric 32": ("5smw7fwes8br4rwdrhe1sj8y65hw2c0j", "yhe9gx7bscqrdcdttsv45bx5pfxtc226"),
    "hex 32": ("2e69c3bf8eca1782638dc45c1cc915a6", "f45c9874ebcb2f86b1bad67642afa94b"),
    "0x + hex 32": ("0x2e69c3bf8eca1782638dc45c1cc915a6", "0xf45c9874ebcb2f86b1bad67642afa94b"),
    "text 18": ("5smw7fwes8br4rwzed", "yhe9gx7bscqrdcd4ck"),
}


@every_format
def test_ids_are_pinned(name: str) -> None:
    """Known inputs make known ids: an upgrade cannot make another id for a key that already has one (SAME-ID)."""
    form, _ = FORMATS[name]
    made = sequence_id("momentum", DAY, "abcd1", 42, form), derived_id("A", "momentum", "k", form)
    assert made == PINNED[name]


def test_digest_key_and_tag_are_pinned() -> None:
    """The indexed digest of a key, the key of a decision and a session tag never change."""
    assert key_digest("A", "momentum", "k").hex() == "fd74833cfc1809a8466335cf5206a7be"
    assert (
        identity.derived_key("momentum", "cross", 1_750_000_000_000_000, "ACME")
        == "decision-4cc29258d5f705d99a60d52dd0ded74c"
    )
    assert session_tag(b"ledger", "venue", 3) == "1k153"


def test_a_key_is_scoped_by_account_and_strategy() -> None:
    """The same key of another account or strategy is another key, and no part can be shifted into its neighbour."""
    digests = {
        key_digest(*parts)
        for parts in (
            ("A", "s", "k"),
            ("B", "s", "k"),
            ("A", "t", "k"),
            ("A", "s", "l"),
            ("As", "k", ""),
            ("A", "sk", ""),
        )
    }
    assert len(digests) == 6
    assert all(len(digest) == 16 for digest in digests)


def test_a_decision_has_one_key_and_every_part_of_it_counts() -> None:
    """Signal, time, instrument and strategy each make another decision; the same four make the same key anywhere."""
    base = ("momentum", "cross", 1_750_000_000_000_000, "ACME")
    others = [
        ("mean", "cross", 1_750_000_000_000_000, "ACME"),
        ("momentum", "touch", 1_750_000_000_000_000, "ACME"),
        ("momentum", "cross", 1_750_000_000_000_001, "ACME"),
        ("momentum", "cross", 1_750_000_000_000_000, "ZINC"),
    ]
    assert len({identity.derived_key(*parts) for parts in (base, *others)}) == 5
    assert identity.derived_key(*base) == identity.derived_key(*base)


@pytest.mark.parametrize(
    ("alphabet", "max_length", "prefix"),
    [(Alphabet.TEXT, 15, ""), (Alphabet.TEXT, 17, "0x"), (Alphabet.HEX, 18, ""), (Alphabet.HEX, 20, "0x")],
)
def test_a_format_without_room_for_64_bits_is_refused(alphabet: Alphabet, max_length: int, prefix: str) -> None:
    """A format that leaves fewer than 64 bits of hash before the checksum is refused."""
    with pytest.raises(InvalidField) as caught:
        IdFormat(alphabet=alphabet, max_length=max_length, prefix=prefix)
    assert caught.value.field == "id_format.max_length"
    IdFormat(alphabet=alphabet, max_length=max_length + 1, prefix=prefix)


@pytest.mark.parametrize(("session", "sequence"), [("ab-1", 1), ("", 1), ("abcd1", 0), ("abcd1", -1)])
def test_a_broken_session_or_number_is_a_defect(session: str, sequence: int) -> None:
    """A session with a separator in it, or a number below one, cannot make an id."""
    with pytest.raises(InvariantBroken):
        sequence_id("s", DAY, session, sequence, TEXT_36)
    with pytest.raises(InvariantBroken):
        session_tag(b"ledger", "venue", 0)


@every_format
@SEEDED
@given(keys, st.integers(1, 10**6))
def test_the_id_of_a_replaced_order_fits_and_is_recognised(name: str, key: str, number: int) -> None:
    """An order goes on under an id of the venue's format that bears our checksum, the same whoever makes it."""
    form, pattern = FORMATS[name]
    first = derived_id("A", "s", key, form)
    made = replacement_id(first, number, form)
    assert re.fullmatch(pattern, made)
    assert made_here(made, form)
    assert made == replacement_id(first, number, form)


@every_format
def test_the_ids_of_a_chain_are_all_different(name: str) -> None:
    """No two links of an order's chain, nor of two orders' chains, nor the first ids themselves, are alike."""
    form, _ = FORMATS[name]
    firsts = [sequence_id("s", DAY, SESSION, number, form) for number in range(1, 101)]
    made = [replacement_id(first, number, form) for first in firsts for number in range(1, 21)]
    assert len({*firsts, *made}) == 100 + 2000
