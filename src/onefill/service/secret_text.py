"""Texts of a settings file that may stand elsewhere: ``env:NAME`` names a variable of the environment, ``file:PATH`` a file
that only its owner may read. No error shows what was read.
"""

import os
from pathlib import Path

from onefill.core.errors import InvalidField

_MOST_BYTES = 65_536


def is_elsewhere(value: str) -> bool:
    """Tell whether a text refers to another place, and so is no secret itself."""
    return value.startswith(("env:", "file:"))


def read(value: str, field: str) -> str:
    """Return a text, or what it refers to. Raises InvalidField, naming the variable or file and never what it holds."""
    way, colon, name = value.partition(":")
    if colon and way == "env":
        found = os.environ.get(name)
        if not found:
            raise InvalidField(field, f"the environment has no {name}")
        return found.strip()
    if colon and way == "file":
        return _content(Path(name), field)
    return value


def _content(path: Path, field: str) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & 0o077:
                raise InvalidField(
                    field, f"{path}: others than its owner may read it (mode {mode & 0o777:04o}): chmod 600 {path}"
                )
            text = file.read(_MOST_BYTES).decode().strip()
    except OSError as error:
        raise InvalidField(field, f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidField(field, f"{path}: is not text") from None
    if not text:
        raise InvalidField(field, f"{path}: is empty")
    return text
