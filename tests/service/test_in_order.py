"""Answers in the order of the file, in bounded memory, in a file that is whole or not there."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.service.in_order import InOrder, WholeFile


@given(st.permutations(range(1, 9)))
def test_results_come_out_in_the_order_of_their_lines(order: list[int]) -> None:
    """Whatever order they arrive in, each is handed on once, none before its turn."""

    async def scenario() -> None:
        told: list[int] = []
        results: InOrder[int] = InOrder(told.append)
        for line in range(1, 9):
            await results.begin(line)
        for count, line in enumerate(order, 1):
            results.add(line, line)
            assert told == list(range(1, len(told) + 1))
            assert set(told) <= set(order[:count])
        assert told == list(range(1, 9))

    asyncio.run(scenario())


def test_a_late_result_holds_back_new_lines_beyond_the_bound() -> None:
    """No more than the given number of lines is ever begun and not handed on."""

    async def scenario() -> None:
        results: InOrder[int] = InOrder(lambda _: None, most=2)
        await results.begin(1)
        await results.begin(2)
        third = asyncio.ensure_future(results.begin(3))
        results.add(2, 2)
        await asyncio.wait([third], timeout=0)
        assert not third.done()
        results.add(1, 1)
        await third

    asyncio.run(scenario())


def test_giving_up_lets_nobody_wait() -> None:
    """A line that will never be answered does not hang the run."""

    async def scenario() -> None:
        results: InOrder[int] = InOrder(lambda _: None, most=1)
        await results.begin(1)
        waiting = asyncio.ensure_future(results.begin(2))
        await asyncio.wait([waiting], timeout=0)
        results.give_up()
        await waiting

    asyncio.run(scenario())


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    """Until it is finished, and for ever if it is not, an earlier file of that name stays."""
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"earlier")
    for data, done in ((b"half", False), (b"whole", True)):
        file = WholeFile(path)
        file.open()
        file.write(data)
        assert path.read_bytes() == b"earlier"
        if done:
            file.finish()
        file.close()
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["answers.jsonl"]


def test_what_is_no_plain_file_is_never_replaced(tmp_path: Path) -> None:
    """To rename onto a pipe or a device would remove it: it is refused before anything is written."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(OSError, match="is there already and is not a plain file"):
            WholeFile(place).open()
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_place_that_is_gone_by_the_end_is_told_and_raises_nothing(tmp_path: Path) -> None:
    """The orders matter more than the file: its failure is kept for the report."""
    path = tmp_path / "answers.jsonl"
    file = WholeFile(path)
    file.open()
    file.write(b"data")
    path.mkdir()
    file.finish()
    file.close()
    assert file.failure is not None
    assert os.listdir(tmp_path) == ["answers.jsonl"]
