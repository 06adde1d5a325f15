"""Signing checkpoints with Ed25519: key files, signatures, and whose they are.

A private key is a PEM file (PKCS8) that only its owner may read. Beside it, ending in ``.pub``, is the public key, which may go
to anybody.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from onefill.core.audit import Checkpoint, note
from onefill.core.errors import CallerError

_MAX_KEY_BYTES = 10_000
_MAKE = "`onefill audit keygen PATH` makes one"


class KeyFileError(CallerError):
    """A key file cannot be used."""


def key_id(public: Ed25519PublicKey) -> str:
    """Return how a key is named: the first 16 hex digits of SHA-256 over the raw public key."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


class Signer:
    """Signs checkpoints with one private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.key_id = key_id(self.public)

    def checkpoint(self, route: str, size: int, root: bytes, head: bytes, at_us: int) -> Checkpoint:
        """Return a signed checkpoint."""
        signature = self._private.sign(note(route, size, root, head, at_us))
        return Checkpoint(
            route=route, size=size, root=root, head=head, at_us=at_us, key_id=self.key_id, signature=signature
        )


class PublicKeys:
    """The keys that somebody trusts: several where a key was replaced by another."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    @property
    def ids(self) -> list[str]:
        """How the keys are named."""
        return sorted(self._keys)

    def fault(self, checkpoint: Checkpoint) -> str | None:
        """Return what is wrong with a checkpoint's signature, or ``None``."""
        key = self._keys.get(checkpoint.key_id)
        if key is None:
            return f"says it was signed with key {checkpoint.key_id}; given was {', '.join(self.ids) or 'none'}"
        try:
            key.verify(checkpoint.signature, checkpoint.note())
        except InvalidSignature:
            return f"was not signed with key {checkpoint.key_id}: it was changed, or forged"
        return None


def make_keys(path: Path) -> tuple[str, Path]:
    """Make a new key pair, ``path`` and ``path.pub``. Return the key's id and the public key's file.

    Overwrites nothing; raises KeyFileError.
    """
    private = Ed25519PrivateKey.generate()
    public_path = path.with_name(path.name + ".pub")
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if public_path.exists():
        raise _is_there(public_path)
    _write_new(path, secret, 0o600)
    try:
        _write_new(public_path, public, 0o644)
    except KeyFileError:
        path.unlink()
        raise
    return key_id(private.public_key()), public_path


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be made: {error.strerror or error}. Nothing was written") from error
    try:
        with open(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise KeyFileError(f"{path}: cannot be written: {error.strerror or error}. No key was made") from error


def _is_there(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path}: is there already and was left as it is. What a lost key signed can never be signed again; name another file"
    )


def load_signer(path: Path) -> Signer:
    """Return the signer of a private key file. Raises KeyFileError, also if others than its owner may read it."""
    data = _read(path, secret=True)
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyFileError(f"{path}: is encrypted, and there is nobody to type its password; {_MAKE}") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = " (a public key: the private one has no .pub)" if b"PUBLIC KEY" in data else ""
        raise KeyFileError(f"{path}: is not a private key in PEM form{hint}; {_MAKE}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: is a key of another kind; checkpoints are signed with Ed25519: {_MAKE}")
    return Signer(private)


def load_public(path: Path) -> Ed25519PublicKey:
    """Return the public key of a file. Raises KeyFileError."""
    data = _read(path, secret=False)
    try:
        public = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        hint = ": it is a private one, of which nothing is to leave its place" if b"PRIVATE KEY" in data else ""
        raise KeyFileError(
            f"{path}: is not a public key in PEM form{hint}. `onefill audit keygen` wrote it to a file ending in .pub"
        ) from None
    if not isinstance(public, Ed25519PublicKey):
        raise KeyFileError(f"{path}: is a key of another kind; checkpoints are signed with Ed25519")
    return public


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and os.name == "posix" and mode & 0o077:
                raise KeyFileError(
                    f"{path}: others than its owner may read it (mode {mode & 0o777:04o}), so anybody may have signed with it. "
                    f"Nothing was started. If nobody has: chmod 600 {path}; otherwise make a new key"
                )
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror or error}. {_MAKE}") from error
