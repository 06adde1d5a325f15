"""Reading the lines of an order file: whatever is wrong with it is told with the file, the line and what to do."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.service.order_file import MAX_LINE, FileError, Lines

TEXT = b"".join(b"row %d,%d\n" % (number, number * 7919) for number in range(1, 3001))


def read(path: Path) -> list[str]:
    """Return every line of a file."""
    lines = Lines(path)
    try:
        return list(lines)
    finally:
        lines.close()


def failure(path: Path) -> str:
    """Return the text of the error that reading a file gives."""
    with pytest.raises(FileError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(("name", "pack"), [("a.csv", bytes), ("a.csv.gz", gzip.compress), ("a.csv.xz", lzma.compress)])
def test_a_file_reads_the_same_however_it_is_packed(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    """Plain, gzip and xz files give the same lines; a byte order mark at the start is no part of them."""
    path = tmp_path / name
    path.write_bytes(pack(b"\xef\xbb\xbfkey\r\none\r\n\r\ntwo"))
    assert read(path) == ["key\r\n", "one\r\n", "\r\n", "two"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_a_truncated_archive_names_the_line_where_it_ends(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    """An archive cut short is refused at the first line that is not whole, with the likely cause."""
    path = tmp_path / f"day.csv.{suffix}"
    whole = pack(TEXT)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    text = failure(path)
    line = int(text.split("line ")[1].split(":")[0])
    assert text == f"{path}: line {line}: the packed file ends too soon; was it copied or downloaded whole?"
    assert 0 < line <= 3000


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_a_file_named_like_an_archive_that_is_none_is_told_so(tmp_path: Path, suffix: str) -> None:
    """The name decides how a file is unpacked, so the error says what the name promised."""
    path = tmp_path / f"day.csv.{suffix}"
    path.write_bytes(TEXT)
    assert failure(path).startswith(f"{path}: line 1: cannot be unpacked (")
    assert failure(path).endswith(f"its name says {suffix}")


def test_a_damaged_archive_is_told_apart_from_a_wrong_name(tmp_path: Path) -> None:
    """Data that was damaged on the way is named as such, at the line reached."""
    path = tmp_path / "day.csv.gz"
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 0xFF  # the checksum of the whole
    path.write_bytes(packed)
    assert "its data is damaged; fetch it again" in failure(path)


@pytest.mark.parametrize("line", [1, 2, 57])
def test_a_byte_that_is_not_utf_8_is_named_by_line_and_place(tmp_path: Path, line: int) -> None:
    """The line is the one with the byte, not the block in which it was read."""
    path = tmp_path / "latin.csv"
    path.write_bytes(b"good\n" * (line - 1) + b"caf\xe9\n" + b"good\n" * 5000)
    assert failure(path) == f"{path}: line {line}: byte 4 (0xe9) is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_recognised(tmp_path: Path, encoding: str) -> None:
    """A spreadsheet's UTF-16 export is named as such."""
    path = tmp_path / "wide.csv"
    path.write_bytes("\ufeffkey\n".encode(encoding))
    assert failure(path) == f"{path}: line 1: the file is UTF-16; save it as UTF-8"


def test_a_line_without_end_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    """No more than the longest allowed line is ever read at once."""
    path = tmp_path / "long.csv"
    path.write_bytes(b"key\n" + b"x" * (MAX_LINE + 1))
    assert failure(path) == f"{path}: line 2: is longer than {MAX_LINE:,} bytes; is this a file of orders?"


def test_what_is_no_file_is_told_by_what_it_is(tmp_path: Path) -> None:
    """A missing file, a folder and a missing folder each have their text."""
    assert failure(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: there is no such file"
    assert failure(tmp_path) == f"{tmp_path}: is a folder; name a file of orders"
    assert failure(tmp_path / "none" / "a.csv.xz") == f"{tmp_path / 'none' / 'a.csv.xz'}: there is no such file"


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.csv.gz", "a.csv.xz"]))
def test_any_bytes_are_read_or_refused_with_the_file_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    """Whatever a file holds, reading it gives lines or a FileError, never another exception."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    told, text = "", None
    try:
        text = "".join(read(path)).encode()
    except FileError as error:
        told = str(error)
    assert told.startswith(f"{path}: line ") if text is None else told == ""
    if name == "a.csv" and text is not None:
        assert text == data.removeprefix(b"\xef\xbb\xbf")
