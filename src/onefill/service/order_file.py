"""The lines of an order file, whatever it is packed in, with the number of the line that cannot be read.

Lines are decoded one by one, so that a wrong byte is named by its own line and memory does not grow with the file.
"""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from onefill.core.errors import CallerError

MAX_LINE = 1 << 20
"""The longest line that is taken for one, in bytes."""
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class FileError(CallerError):
    """The file as a whole cannot be read."""


class Lines:
    """The text lines of a file, to be iterated once, and closed. ``number`` is the last line read, from 1.

    ``.xz`` and ``.gz`` are unpacked on the way. Raises :class:`FileError` when the file cannot be opened or a line not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _opened(path)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Return itself."""
        return self

    def __next__(self) -> str:
        """Return the next line, its end included."""
        line = self._read()
        if not line:
            raise StopIteration
        self.number += 1
        if self.number == 1:
            if line.startswith(_UTF_16):
                raise self.error("the file is UTF-16; save it as UTF-8", line=1)
            line = line.removeprefix(_BOM)
        if len(line) > MAX_LINE:
            raise self.error(f"is longer than {MAX_LINE:,} bytes; is this a file of orders?", line=self.number)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            byte, place = error.object[error.start], error.start + 1
            raise self.error(f"byte {place} (0x{byte:02x}) is not UTF-8; save the file as UTF-8", self.number) from None

    def _read(self) -> bytes:
        try:
            return self._file.readline(MAX_LINE + 1)
        except EOFError:
            raise self.error("the packed file ends too soon; was it copied or downloaded whole?") from None
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            kind = self._path.suffix.removeprefix(".")
            hint = f"its name says {kind}" if self.number == 0 else "its data is damaged; fetch it again"
            raise self.error(f"cannot be unpacked ({error}); {hint}") from None
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from error

    def error(self, problem: str, line: int | None = None) -> FileError:
        """Return an error naming the file and a line, by default the one after the last read."""
        return FileError(f"{self._path}: line {self.number + 1 if line is None else line}: {problem}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise FileError(f"{path}: is a folder; name a file of orders")
        if path.suffix == ".xz":
            return cast("BinaryIO", lzma.open(path, "rb"))
        if path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(path, "rb"))
        return path.open("rb")
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
