"""``onefill audit``: the hash-chained record, verified, signed, proved and exported. All but the signing only reads."""

import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, progress, remark, say, told
from onefill.cli.read_commands import history_json, print_history
from onefill.core.audit import Checkpoint, JournalEntry
from onefill.core.audit_documents import InclusionProof, Proof
from onefill.core.errors import CallerError
from onefill.core.order import Order
from onefill.ports.ledger import RouteInfo
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.service import audit_export, audit_proofs
from onefill.service.audit import Audit, counted, verify
from onefill.service.audit_marks import read_outside, utc
from onefill.service.wiring import SystemClock, open_for_reading, open_to_sign

if TYPE_CHECKING:
    from onefill.service.signing import PublicKeys

_PAGE = 1000
_NOT_HELD = "the record does not hold. Keep this file as it is, and compare it with a copy made earlier"
audit_app = typer.Typer(help="The hash-chained record.", no_args_is_help=True)

LedgerArgument = Annotated[
    str | None,
    typer.Argument(metavar="[LEDGER]", help="The ledger: a file, or a PostgreSQL URL.", show_default=False),
]
LedgerOption = Annotated[str | None, typer.Option("--ledger", help="The ledger, if it was not named before.")]
PublicKeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="Public key by which checkpoints must be signed; several if there were several."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write it here instead of to standard output.")]


def _ledger(argument: str | None, option: str | None) -> str:
    if (argument is None) == (option is None):
        raise CallerError("name the ledger once, as in `onefill audit verify orders.db` or with --ledger orders.db")
    return argument or option or ""


def keys_of(files: list[Path] | None) -> "PublicKeys | None":
    """Return the public keys of these files, if any are named."""
    if not files:
        return None
    from onefill.service import signing  # noqa: PLC0415 - what signs takes its time to load

    return signing.PublicKeys(signing.load_public(path) for path in files)


def _required_keys(files: list[Path] | None) -> "PublicKeys":
    keys = keys_of(files)
    if keys is None:
        raise CallerError("--public-key: is missing; by it alone a proof is worth something")
    return keys


@contextmanager
def shown_progress(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs."""
    with progress(shown=True) as bar:
        task = bar.add_task(text, total=total, note="")
        yield lambda count: bar.update(task, advance=count)


@asynccontextmanager
async def _reading(
    ledger: str, text: str, archive: Path | None = None
) -> AsyncIterator[tuple[BrowsableLedger, Callable[[int], None]]]:
    async with open_for_reading(ledger, archive) as store:
        with shown_progress(text, sum(route.journal_entries for route in await store.routes())) as on_progress:
            yield store, on_progress


@audit_app.command("log")
def audit_log(
    ledger: LedgerArgument = None,
    ledger_option: LedgerOption = None,
    kind: Annotated[
        str | None, typer.Option(help="Only entries of this kind, such as resolved: what people decided.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many of each route, the last ones.", min=1)] = 50,
    as_json: options.Json = False,
) -> None:
    """Show the journal of every route, the latest entry last: what was done and seen, and what people decided."""
    with told(as_json=as_json):

        async def read() -> list[tuple[JournalEntry, Order | None]]:
            async with open_for_reading(_ledger(ledger, ledger_option)) as store:
                found = [e for route in await store.routes() for e in await _last_entries(store, route, kind, limit)]
                return [(entry, await _order_of(store, entry)) for entry in found]

        found = run_loop(read())
        if as_json:
            print_json(
                [
                    {"route": entry.route, "key": None if order is None else order.key, **history_json([entry])[0]}
                    for entry, order in found
                ]
            )
            return
        if not found:
            remark("no entries" if kind is None else f"no entries of kind {kind!r}")
        for entry, order in found:
            say(f"{entry.route}{'' if order is None else f'  key {order.key}'}")
            print_history([entry])


async def _last_entries(store: BrowsableLedger, route: RouteInfo, kind: str | None, limit: int) -> list[JournalEntry]:
    if kind is None:
        return await store.journal(route.name, max(route.journal_entries - limit, _archived(route)), limit)
    found: deque[JournalEntry] = deque(maxlen=limit)
    after = _archived(route)
    while page := await store.journal(route.name, after, _PAGE):
        found += [entry for entry in page if entry.kind == kind]
        after = page[-1].sequence
    return list(found)


def _archived(route: RouteInfo) -> int:
    """Return after which entry a route's journal begins here."""
    return 0 if route.archived is None else route.archived.last


async def _order_of(store: BrowsableLedger, entry: JournalEntry) -> Order | None:
    if entry.intent_id is None:
        return None
    page = await store.orders(entry.intent_id - 1, 1)
    return page[0] if page else None


@audit_app.command("verify")
def audit_verify(
    ledger: LedgerArgument = None,
    ledger_option: LedgerOption = None,
    public_key: PublicKeyFiles = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option(help="Checkpoints that were kept outside the ledger: they show a cut end.")
    ] = None,
    archive: options.Archive = None,
    as_json: options.Json = False,
) -> None:
    """Verify every route's hash chain, its signed checkpoints, executions and positions. Exit code 5 if not."""
    with told(as_json=as_json):
        keys = keys_of(public_key)
        outside = read_outside(keys, *(checkpoints or ()))
        if checkpoints and not outside.marks and not outside.faults:
            outside.faults.append(f"{', '.join(map(str, checkpoints))}: holds no checkpoint")

        async def read() -> Audit:
            async with _reading(_ledger(ledger, ledger_option), "verifying", archive) as (store, on_progress):
                return await verify(store, on_progress, keys=keys, outside=outside)

        audit = run_loop(read())
        if as_json:
            print_json({"holds": audit.holds, "positions_agree": not audit.positions, **msgspec.structs.asdict(audit)})
        else:
            _print_audit(audit)
        if not audit.holds:
            remark(_NOT_HELD)
            raise typer.Exit(ExitCode.BROKEN)


def _print_audit(audit: Audit) -> None:
    for route in audit.routes:
        fault = "holds" if route.fault is None else f"BROKEN at {route.fault}"
        agreed = f", {counted(route.checkpoints, 'checkpoint')} in agreement" if route.checkpoints else ""
        entries = f"entries {route.first:,} to {route.entries:,}" if route.first > 1 else f"{route.entries:,} entries"
        say(f"{route.route}: {entries}, chain {fault}{agreed}")
    for fault in audit.positions:
        say(f"positions: BROKEN: {fault}")
    for fault in audit.checkpoints:
        say(f"checkpoints: BROKEN: {fault}")
    if not audit.routes:
        say("no routes: nothing was ever run on this ledger")
    for note in audit.notes if audit.holds else ():
        remark(note)


@audit_app.command("keygen")
def audit_keygen(
    path: Annotated[Path, typer.Argument(help="Where to write the private key; the public one goes to PATH.pub.")],
    as_json: options.Json = False,
) -> None:
    """Make a key pair for signing checkpoints (Ed25519). Overwrites nothing."""
    with told(as_json=as_json):
        from onefill.service import signing  # noqa: PLC0415 - as above

        key_id, public = signing.make_keys(path)
        if as_json:
            print_json({"key_id": key_id, "private_key": str(path), "public_key": str(public)})
            return
        say(f"key {key_id}: {path} (keep it where only the gateway can read it) and {public} (for whoever verifies)")


@audit_app.command("checkpoint")
def audit_checkpoint(
    key: Annotated[Path, typer.Option("--key", help="The private key, as `audit keygen` made it.")],
    ledger: LedgerArgument = None,
    ledger_option: LedgerOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Add each to this file too: keep it where the ledger's owner cannot change it.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a signed checkpoint of every route that has grown. What is new is verified first."""
    with told(as_json=as_json):
        from onefill.service import audit_checkpoints, signing  # noqa: PLC0415 - as above

        file = None if out is None else audit_checkpoints.CheckpointFile(out)
        work = audit_checkpoints.Checkpointer(signing.load_signer(key), file, SystemClock())

        async def make() -> list[Checkpoint]:
            async with open_to_sign(_ledger(ledger, ledger_option)) as store:
                with shown_progress("signing", None) as on_progress:
                    return await work.make(store, on_progress)

        made = run_loop(make())
        if as_json:
            print_json([_checkpoint_json(one) for one in made])
            return
        for one in made:
            say(f"{one.route}: signed {one.size:,} entries with key {one.key_id}, root {one.root.hex()}")
        if not made:
            remark("nothing to sign: no route has grown since its last checkpoint")


def _checkpoint_json(one: Checkpoint) -> dict[str, Any]:
    told = {"root": one.root.hex(), "head": one.head.hex(), "signature": one.signature.hex()}
    return {**msgspec.structs.asdict(one), **told}


@audit_app.command("prove")
def audit_prove(
    place: Annotated[list[str], typer.Argument(metavar="[LEDGER] ROUTE SEQUENCE", help="Which entry of which route.")],
    ledger_option: LedgerOption = None,
    growth: Annotated[
        bool, typer.Option("--growth", help="SEQUENCE is an older checkpoint's size: prove that the journal only grew.")
    ] = False,
    archive: options.Archive = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Prove that an entry is in the journal that the newest checkpoint signs, without showing the others."""
    with told(as_json=as_json):
        ledger, route, sequence = _place(place, ledger_option)

        async def work() -> Proof:
            async with _reading(ledger, "proving", archive) as (store, on_progress):
                make = audit_proofs.prove_growth if growth else audit_proofs.prove
                return await make(store, route, sequence, on_progress)

        proof = run_loop(work())
        text = msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n"
        if out is None:
            say(text.decode().rstrip("\n"))
            return
        with audit_export.writing(out) as write:
            write(text)
        signed = f"checkpoint of {proof.checkpoint.size:,} entries, key {proof.checkpoint.key_id}"
        if as_json:
            print_json({"proof": str(out), "size": proof.checkpoint.size, "key_id": proof.checkpoint.key_id})
        else:
            say(
                f"{out}: proof under the {signed}; check it with `onefill audit check-proof {out} --public-key KEY.pub`"
            )


def _place(words: list[str], option: str | None) -> tuple[str, str, int]:
    wanted = 3 if option is None else 2
    if len(words) != wanted or not words[-1].isdecimal() or not words[-1].isascii():
        raise CallerError(
            f"{' '.join(words)!r}: expected {'LEDGER ' if option is None else ''}ROUTE SEQUENCE, as in "
            "`onefill audit prove orders.db exchange:main 17`"
        )
    return words[0] if option is None else option, words[-2], int(words[-1])


@audit_app.command("check-proof")
def audit_check_proof(
    proof: Annotated[Path, typer.Argument(help="A file that `audit prove` wrote.")],
    public_key: PublicKeyFiles = None,
    as_json: options.Json = False,
) -> None:
    """Check a proof with nothing but the public key. Exit code 5 if it does not hold."""
    with told(as_json=as_json):
        checked = audit_proofs.check_proof(proof, _required_keys(public_key))
        if as_json:
            print_json({"holds": True, "proof": checked})
            return
        signed = checked.checkpoint
        if isinstance(checked, InclusionProof):
            what = f"entry {checked.entry.sequence:,} of route {checked.entry.route} is one of"
        else:
            what = f"the first {checked.older.size:,} entries of route {signed.route} stand unchanged among"
        say(f"holds: {what} the {signed.size:,} that key {signed.key_id} signed at {utc(signed.at_us)}")
        if isinstance(checked, InclusionProof):
            print_history([checked.entry.entry()])


@audit_app.command("export")
def audit_export_command(
    ledger: LedgerArgument = None,
    ledger_option: LedgerOption = None,
    route: Annotated[str | None, typer.Option(help="Only this route.")] = None,
    after: Annotated[int, typer.Option(help="Only entries after this sequence.", min=0)] = 0,
    archive: options.Archive = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it here instead of to standard output; .xz and .gz are packed.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write the journal with hashes and checkpoints as JSON lines, for `audit verify-export` and other programs."""
    with told(as_json=as_json):

        async def work() -> int:
            path, count = _ledger(ledger, ledger_option), 0
            async with _reading(path, "exporting", archive) as (store, on_progress):
                with nullcontext(_print_chunk) if out is None else audit_export.writing(out) as write:
                    async for chunk in audit_export.export(store, route, after, on_progress):
                        write(chunk)
                        count += chunk.count(b"\n")
            return count

        count = run_loop(work())
        if out is not None and as_json:
            print_json({"export": str(out), "lines": count})
        elif out is not None:
            say(f"{out}: {count:,} lines; verify them with `onefill audit verify-export {out}`")


def _print_chunk(chunk: bytes) -> None:
    sys.stdout.write(chunk.decode())


@audit_app.command("verify-export")
def audit_verify_export(
    file: Annotated[Path, typer.Argument(help="A file that `audit export` wrote; .xz and .gz are unpacked.")],
    public_key: PublicKeyFiles = None,
    as_json: options.Json = False,
) -> None:
    """Verify an export with no ledger at hand: chain, checkpoints, and that it is whole. Exit code 5 if not."""
    with told(as_json=as_json):
        keys = keys_of(public_key)
        size = file.stat().st_size if file.is_file() else None
        with shown_progress("verifying (bytes)", size) as on_progress:
            found = audit_export.verify_export(file, keys, on_progress)
        if as_json:
            print_json({"holds": found.holds, **msgspec.structs.asdict(found)})
        else:
            state = "holds" if found.holds else f"BROKEN at {found.fault}"
            of = f"{counted(found.entries, 'entry', 'entries')} of {counted(len(found.routes), 'route')}"
            say(f"{file}: {of}, {counted(found.checkpoints, 'checkpoint')}: {state}")
            for note in found.notes if found.holds else ():
                remark(note)
        if not found.holds:
            raise typer.Exit(ExitCode.BROKEN)
