"""A run that ends before its time, in every way it can: what it says, and that running it again finishes, once."""

import random
import resource
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cli_kit import PATIENCE_S, Result, Venue, blotter, cancel, limit, onefill, process, started, stuck_run

LINES = [limit(f"k{n}") for n in range(400)] + [cancel(f"k{n}") for n in range(0, 400, 2)]


def run(file: Path, ledger: Path, venue: Venue, account: str) -> tuple[object, ...]:
    """Return the arguments of a run."""
    return ("run", file, "--ledger", ledger, "--venue", venue.url, "--account", account)


def ended(child: "subprocess.Popen[str]") -> Result:
    """Wait for a process and return how it ended."""
    out, err = child.communicate(timeout=PATIENCE_S)
    return Result(child.returncode, out, err)


def check_finished(file: Path, ledger: Path, venue: Venue, account: str) -> None:
    """Run the file again: it finishes, each order is at the venue once, and the record holds."""
    done = onefill(*run(file, ledger, venue, account), "--json")
    assert done.code == 0, done
    assert done.json["outcomes"] == {"accepted": 400, "canceled": 200}
    orders = venue.orders(account)
    assert len(orders) == len({order.client_order_id for order in orders}) == 400
    assert Counter(order.status for order in orders) == {"canceled": 200, "new": 200}
    assert onefill("audit", "verify", "--ledger", ledger).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_finishes_what_is_under_way_and_says_how_things_stand(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, number: signal.Signals, code: int
) -> None:
    """The numbers it tells add up, an older answers file stays, and the same command finishes the work."""
    file = blotter(tmp_path, *LINES)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("earlier")
    before = exchange.submits()
    with started(*run(file, ledger, exchange, account), "--in-flight", "2", "--answers", answers) as child:
        exchange.wait_for_submits(before + 20)
        child.send_signal(number)
        done = ended(child)
    assert done.code == code, done
    first, *_, last = done.err.splitlines()
    assert first == "stopping: rows under way are finished first, 5 s at most; again to stop at once"
    answered, under_way, rest = (int(word.replace(",", "")) for word in last.split() if word.replace(",", "").isdigit())
    assert last == (
        f"interrupted: {answered} rows were answered, {under_way} are under way and may be at the venue, {rest} were not "
        "begun. The ledger knows each of them: run the same command again and it finishes, sending nothing twice"
    )
    assert answered >= 18
    assert under_way == 0
    assert answered + rest == 600
    assert sorted(path.name for path in tmp_path.glob("answers*")) == ["answers.jsonl"]
    assert answers.read_text() == "earlier"
    check_finished(file, ledger, exchange, account)


def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path, ledger: Path, account: str) -> None:
    """A venue that does not answer holds nobody: rows under way are told as such and taken up by the next run."""
    file = blotter(tmp_path, *LINES)
    with stuck_run(file, ledger, account) as stuck:
        stuck.child.send_signal(signal.SIGINT)
        assert stuck.child.stderr.readline().startswith("stopping: ")
        stuck.child.send_signal(signal.SIGINT)
        done = ended(stuck.child)
        assert done.code == 130
        assert " are under way and may be at the venue, " in done.err
        assert " 0 are under way" not in done.err
        stuck.wake()
        check_finished(file, ledger, stuck.venue, account)


def test_a_ledger_in_use_is_told_with_the_process_that_has_it(tmp_path: Path, ledger: Path, account: str) -> None:
    """A second writer is turned away, names the first, changes nothing; readers are let in meanwhile."""
    file = blotter(tmp_path, *LINES)
    with stuck_run(file, ledger, account) as stuck:
        other = blotter(tmp_path, limit("other"), name="other.csv")
        done = onefill(*run(other, ledger, stuck.venue, account))
        assert done.code == 4
        assert done.err.startswith(f"error: {ledger}: is in use by process {stuck.child.pid} on ")
        assert ". Nothing was changed. Stop that process, or let it do the work" in done.err
        told = onefill(*run(other, ledger, stuck.venue, account), "--json").json
        assert (told["kind"], told["exit_code"]) == ("LedgerInUse", 4)
        for arguments in (("orders",), ("positions",), ("show", "k0"), ("audit", "verify")):
            assert onefill(*arguments, "--ledger", ledger).code == 0
        stuck.wake()
        assert ended(stuck.child).code == 0
    assert "other" not in onefill("orders", "--ledger", ledger, "--limit", 1000).out


def test_a_run_killed_with_9_anywhere_is_finished_by_the_next(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Three kills at seeded points of one run; the last run finishes and every order is there once."""
    file = blotter(tmp_path, *LINES)
    start = exchange.submits()
    for point in sorted(random.Random("kill -9").sample(range(1, 380), 3)):
        with started(*run(file, ledger, exchange, account), "--in-flight", "8") as child:
            exchange.wait_for_submits(start + point)
            child.kill()
            assert ended(child).code == -signal.SIGKILL
    check_finished(file, ledger, exchange, account)


def test_a_full_disk_stops_the_run_and_loses_nothing(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """When the ledger can grow no more the run ends with exit code 4; with room again, the next run finishes."""
    file = blotter(tmp_path, *LINES)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = process(*run(file, ledger, exchange, account), preexec_fn=little_room)
    assert done.code == 4, done
    assert done.err.startswith(f"error: {ledger}: ")
    assert "Traceback" not in done.err
    sent = len(exchange.orders(account))
    assert 0 < sent < 400
    recorded = onefill("orders", "--ledger", ledger, "--limit", 1000, "--json").json
    assert {order.client_order_id for order in exchange.orders(account)} <= {one["client_order_id"] for one in recorded}
    check_finished(file, ledger, exchange, account)


def test_through_a_network_that_loses_things_each_order_is_there_once(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """The same file through ``onefill link``: other counts on the way, the same orders at the venue."""
    file = blotter(tmp_path, *LINES)
    with started("link", "--upstream", exchange.url, "--faults", "rough", "--port", "0", "--json") as link:
        assert link.stdout is not None
        url = link.stdout.readline().split('"')[3]
        done = onefill(*run(file, ledger, Venue(url), account), "--timeout-s", "0.3", "--json")
        assert done.code == 0, done
        link.send_signal(signal.SIGTERM)
        counted = ended(link)
    assert counted.code == 0
    assert counted.json["hurt"] > 20
    assert done.json["routes"][f"exchange:{account}"]["unknown_outcomes"] > 0
    check_finished(file, ledger, exchange, account)
