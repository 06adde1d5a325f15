"""``onefill run`` under limits: what a gate refuses is told, recorded and the same again."""

from pathlib import Path

from cli_kit import Venue, onefill

HEAD = "key,instrument,side,quantity,type,price,allow similar\n"


def run(file: Path, ledger: Path, venue: Venue, account: str, *more: object) -> tuple[object, ...]:
    """Return the arguments of a run."""
    return ("run", file, "--ledger", ledger, "--venue", venue.url, "--account", account, "--in-flight", "1", *more)


def test_a_refused_row_is_told_and_stays_refused(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """Exit code 1 and the gate's text, also when the file is run again without limits; the venue hears nothing of it."""
    limits = tmp_path / "onefill.toml"
    limits.write_text('[risk]\nmax_quantity = "1"\n')
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + "a,BTC-USD,buy,2,limit,100,\nb,BTC-USD,buy,1,limit,100,\n")
    for settings in (("--settings", limits), ()):
        done = onefill(*run(file, ledger, exchange, account, "--json", *settings))
        assert done.code == 1, done.err
        assert done.json["outcomes"] == {"accepted": 1, "refused": 1}
        (note,) = done.json["notes"]
        assert note["error"].startswith("line 2: order 'a': refused: size: quantity 2 is above max_quantity 1. ")
    assert len(exchange.orders(account)) == 1
    told = onefill("audit", "verify", "--ledger", ledger)
    assert told.code == 0, told.out + told.err
    told = onefill("show", "a", "--ledger", ledger)
    assert "refused" in told.out, told.out


def test_rows_just_alike_are_sent_where_it_is_said(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """By the row itself, or by the option for all of them; the row's own word comes first."""
    limits = tmp_path / "onefill.toml"
    limits.write_text("[risk]\nsimilar_window_s = 3600\n")
    file = tmp_path / "orders.csv"
    row = "BTC-USD,buy,1,limit,100"
    file.write_text(f"{HEAD}a,{row},\nb,{row},\nc,{row},yes\nd,{row},no\n")
    done = onefill(*run(file, ledger, exchange, account, "--json", "--settings", limits))
    assert done.json["outcomes"] == {"accepted": 2, "refused": 2}, done.err
    file.write_text(f"{HEAD}e,{row},\nf,{row},no\n")
    done = onefill(*run(file, ledger, exchange, account, "--json", "--settings", limits, "--allow-similar"))
    assert done.json["outcomes"] == {"accepted": 1, "refused": 1}


def test_a_word_that_is_none_is_a_bad_row(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """The column takes yes and no."""
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + "a,BTC-USD,buy,2,limit,100,maybe\n")
    done = onefill(*run(file, ledger, exchange, account, "--json"))
    (note,) = done.json["notes"]
    assert (note["field"], note["error"]) == ("allow similar", "line 2, allow similar: 'maybe' is none of: yes, no")
