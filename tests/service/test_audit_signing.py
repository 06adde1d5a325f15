"""Keys and signatures: a key file is kept to its owner, and a signature is over the whole checkpoint."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from audit_kit import keys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onefill.service.signing import KeyFileError, PublicKeys, Signer, load_public, load_signer, make_keys


def test_a_new_key_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    """The private key has mode 0600 whatever the umask; the public one may go to anybody."""
    before = os.umask(0)
    try:
        key_id, public = make_keys(tmp_path / "k")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert public == tmp_path / "k.pub"
    assert load_signer(tmp_path / "k").key_id == key_id
    assert PublicKeys([load_public(public)]).ids == [key_id]
    assert len(key_id) == 16


@pytest.mark.parametrize("name", ["k", "k.pub"])
def test_no_key_is_overwritten(tmp_path: Path, name: str) -> None:
    """Neither of the two files, and then neither is made."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(KeyFileError, match=f"{name}: is there already and was left as it is"):
        make_keys(tmp_path / "k")
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Anybody may have signed with it; what to do is said."""
    make_keys(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(KeyFileError, match=rf"others than its owner may read it \(mode {mode:04o}\).*chmod 600"):
        load_signer(tmp_path / "k")


def test_whatever_is_no_key_is_told(tmp_path: Path) -> None:
    """Missing, garbage, the other one of the pair, encrypted, or of another kind: each with what it should be."""
    _, public = make_keys(tmp_path / "k")
    other = tmp_path / "other"
    other.touch(0o600)
    own = Ed25519PrivateKey.generate()
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain, hidden = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"x")
    for content, told in (
        (b"", "is not a private key in PEM form; `onefill audit keygen PATH` makes one"),
        (public.read_bytes(), "is not a private key in PEM form \\(a public key: the private one has no .pub\\)"),
        (own.private_bytes(pem, form, hidden), "is encrypted, and there is nobody to type its password"),
        (foreign.private_bytes(pem, form, plain), "is a key of another kind; checkpoints are signed with Ed25519"),
    ):
        other.write_bytes(content)
        with pytest.raises(KeyFileError, match=told):
            load_signer(other)
    for content, told in (
        (b"x", "is not a public key in PEM form. `onefill audit keygen` wrote it to a file ending in .pub"),
        ((tmp_path / "k").read_bytes(), "is not a public key in PEM form: it is a private one"),
        (
            foreign.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
            "is a key of another kind; checkpoints are signed with Ed25519",
        ),
    ):
        other.write_bytes(content)
        with pytest.raises(KeyFileError, match=told):
            load_public(other)
    for load in (load_signer, load_public):
        with pytest.raises(KeyFileError, match="none: cannot be read: No such file or directory"):
            load(tmp_path / "none")
    with pytest.raises(KeyFileError, match="cannot be made: No such file or directory"):
        make_keys(tmp_path / "none" / "k")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("route", "other"),
        ("size", 4),
        ("root", bytes([1]) * 32),
        ("head", bytes([1]) * 32),
        ("at_us", 8),
        ("signature", bytes(64)),
        ("signature", b""),
    ],
)
def test_a_signature_covers_the_whole_checkpoint(tmp_path: Path, field: str, value: object) -> None:
    """Each of its fields."""
    signer, trusted, _ = keys(tmp_path)
    made = signer.checkpoint("sim", 3, bytes(32), bytes(32), 7)
    assert trusted.fault(made) is None
    changed = msgspec.structs.replace(made, **{field: value})
    assert trusted.fault(changed) == f"was not signed with key {signer.key_id}: it was changed, or forged"


def test_a_key_that_was_not_given_is_not_trusted(tmp_path: Path) -> None:
    """Which one it says it is, and which were given, is told; a forger cannot take a trusted one's name."""
    signer, trusted, _ = keys(tmp_path)
    forger = Signer(Ed25519PrivateKey.generate())
    made = forger.checkpoint("sim", 3, bytes(32), bytes(32), 7)
    assert trusted.fault(made) == f"says it was signed with key {forger.key_id}; given was {signer.key_id}"
    named = msgspec.structs.replace(made, key_id=signer.key_id)
    assert "it was changed, or forged" in str(trusted.fault(named))
    assert PublicKeys([signer.public, forger.public]).fault(made) is None
