"""The simulation: every promise over thousands of worlds, the same world twice, and worlds that must fail."""

import hashlib
import os
import subprocess
import sys

import msgspec
import pytest

from onefill.core import claims, executions, retry, retry_live
from onefill.core.capabilities import Capabilities
from onefill.core.messages import ExecutionReport
from onefill.ledger import sqlite_write
from onefill.sim.checkers import CHECKS
from onefill.sim.history import trace
from onefill.sim.simulate import EXPECTED_FAULTS, judged, run_in_processes, run_worlds, seeds_of, shortcomings
from onefill.sim.simulate_command import main
from onefill.sim.simulate_report import lines
from onefill.sim.world import run_world
from onefill.sim.world_plan import plan
from onefill.sim.world_profiles import profile_of, profiles, variant_of

SEEDS = 3024
"""Every profile four and a half times."""
_DIGESTS = (
    "import sys, hashlib\n"
    "from onefill.sim.world import run_world\n"
    "from onefill.sim.world_plan import plan\n"
    "made = [run_world(plan(int(seed))).history.digest() for seed in sys.argv[1:]]\n"
    "print(hashlib.sha256(' '.join(made).encode()).hexdigest())\n"
)


def test_every_promise_holds_in_every_kind_of_world() -> None:
    """3,024 worlds over all combinations of capabilities break no promise, and every check had cases to judge."""
    result = run_in_processes(list(range(SEEDS)))
    assert not result.broken, "\n".join(lines(result, 0.0, []))
    assert shortcomings(result) == []
    assert result.worlds == SEEDS


def test_the_seeds_walk_all_profiles() -> None:
    """As many seeds as there are profiles have each of them once; six rounds have each with every variant."""
    every = profiles()
    assert len({profile.name for profile in every}) == len(every) == 672
    assert {profile_of(seed).name for seed in range(1000, 1672)} == {profile.name for profile in every}
    rounds = {(profile_of(seed).name, variant_of(seed)) for seed in range(672 * 6)}
    assert len(rounds) == 672 * 6


def test_a_seed_gives_the_same_history_every_time() -> None:
    """The same seeds give the same histories bit for bit: again, in another order, and in a process that hashes otherwise."""
    seeds = list(range(200, 240))
    first = {seed: run_world(plan(seed)).history.digest() for seed in seeds}
    again = {seed: run_world(plan(seed)).history.digest() for seed in reversed(seeds)}
    assert first == again
    assert len(set(first.values())) == len(seeds)
    wanted = hashlib.sha256(" ".join(first[seed] for seed in seeds).encode()).hexdigest()
    for hash_seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        arguments = [sys.executable, "-c", _DIGESTS, *map(str, seeds)]
        said = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == wanted


def test_a_world_with_a_broken_rule_makes_two_orders_and_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rule says that a venue refuses every repeat, and it does so for open orders only, ONE-ORDER breaks; the trace
    names both orders.
    """
    for module in (claims, retry, retry_live):
        monkeypatch.setattr(module, "repeat_is_refused", lambda *_: True)
    for seed in seeds_of(0, 300, "open-"):
        run, _, violations = judged(seed)
        found = next((one for one in violations if one.promise == "ONE-ORDER"), None)
        if found is not None:
            break
    else:
        pytest.fail("no world made two orders")
    orders = [word for word in found.text.replace(",", " ").split() if word[0] == "X" and word[1:].isdigit()]
    assert len(orders) == 2
    told = "\n".join(trace(run.history))
    assert all(f"making {order}" in told for order in orders)


def _nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "too_late_to_send", lambda *_, **__: None)


def _nobody_is_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Any_(int):  # noqa: N801 - a number that is every number
        def __eq__(self, _other: object) -> bool:
            return True

        def __ne__(self, _other: object) -> bool:
            return False

        __hash__ = int.__hash__

    routes = sqlite_write.Writer._routes

    def unfenced(writer: sqlite_write.Writer) -> dict[str, object]:
        found = routes(writer)
        for route in found.values():
            route.epoch = Any_(route.epoch)
        return dict(found)

    monkeypatch.setattr(sqlite_write.Writer, "_routes", unfenced)


def _never_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(order: object, capabilities: object, _lookup: object, now_us: object) -> object:
        return retry.send(order, capabilities, now_us)  # type: ignore[arg-type]

    monkeypatch.setattr(retry, "_when_uncertain", send)


def _a_crash_forgets_what_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefill.core import evidence  # noqa: PLC0415

    monkeypatch.setattr(evidence, "recovered", lambda _: ())


def _each_report_is_another_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    name = executions.name

    def by_place(report: ExecutionReport, capabilities: Capabilities) -> executions.Name:
        return msgspec.structs.replace(name(report, capabilities), scope=str(report.position))

    monkeypatch.setattr(executions, "name", by_place)


def _claims_are_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    from onefill.engine import sender  # noqa: PLC0415

    async def at_once(route: object, entry: object, events: object) -> bool:
        route.record(entry, events)  # type: ignore[attr-defined]
        return True

    monkeypatch.setattr(sender, "_commit", at_once)


@pytest.mark.parametrize(
    ("switch_off", "promise"),
    [
        (_nothing_is_late, "IN-TIME"),
        (_nobody_is_fenced, "ONE-WRITER"),
        (_never_ask, "ASK-FIRST"),
        (_a_crash_forgets_what_was_under_way, "CONVERGES"),
        (_each_report_is_another_execution, "FILL-ONCE"),
        (_claims_are_not_awaited, "LEDGER-FIRST"),
    ],
)
def test_a_check_can_fail(monkeypatch: pytest.MonkeyPatch, switch_off: object, promise: str) -> None:
    """A guard that is switched off from outside breaks its promise within some hundred worlds."""
    switch_off(monkeypatch)  # type: ignore[operator]
    seen: set[str] = set()
    for first in range(0, 600, 20):  # what is switched off may break others first
        result = run_worlds(range(first, first + 20), stop_at_first=False)
        seen |= {broken.promise for broken in result.broken}
        if promise in seen:
            return
    pytest.fail(f"{promise} was never seen broken; seen: {seen}")


def test_a_run_that_shows_nothing_fails() -> None:
    """Promises without a case, and faults that never hit anything, are shortcomings of a run."""
    result = run_worlds(range(2))
    missing = shortcomings(result)
    assert any("no case was judged" in text for text in missing)
    assert set(result.cases) == set(CHECKS)
    assert len(set(EXPECTED_FAULTS)) == len(EXPECTED_FAULTS)


def test_a_world_is_replayed_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """``--seed N --trace`` prints the world, what happened, the verdict and the digest of its history."""
    code = main(["--seed", "5", "--trace"])
    said = capsys.readouterr().out
    run, _, violations = judged(5)
    assert code == (1 if violations else 0)
    assert run.plan.profile.name in said
    assert run.history.digest() in said
    assert "caller →" in said
    assert "→ venue: #1" in said


def test_a_run_prints_counts_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """A short run prints its counts as tables or JSON; a profile that does not exist is refused."""
    arguments = ["--seeds", "4", "--jobs", "1", "--only", "open-error/lookup-scan/expiry/T"]
    assert main(arguments) in (0, 1)  # four worlds may leave a check without a case
    text = capsys.readouterr().out
    assert "open/scan/expiry/T" in text
    assert "4 worlds" in text
    main([*arguments, "--json"])
    counts = msgspec.json.decode(capsys.readouterr().out)
    assert counts["worlds"] == 4
    assert list(counts["families"]) == ["open/scan/expiry/T"]
    assert main(["--only", "nothing-like-it"]) == 2
    assert "nothing-like-it" in capsys.readouterr().err
