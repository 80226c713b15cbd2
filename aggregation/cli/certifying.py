"""Certificates of a plugin's public numbers, and the keys that sign them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from packaging.utils import canonicalize_name
from rich.table import Column, Table
from rich.text import Text

from aggregation.certificates.issue import WrongWeeksError, prepare, verify_here
from aggregation.certificates.keys import KeyProblemError, key_set, new_key, parse_key_set, private_file
from aggregation.certificates.page import page_of
from aggregation.certificates.signing import MOST_BYTES, Outcome, TooLargeError, Verdict, text_of, verify
from aggregation.certificates.statement import NothingToStateError
from aggregation.cli.opening import aggregate_store, instant, run, settings
from aggregation.cli.options import NOT_DONE, USAGE, JsonOption, NowOption, UsageError, YesOption, checked_reason, checked_week
from aggregation.cli.output import confirmed, console, errors, print_json
from aggregation.jobs import turn
from aggregation.settings import is_loopback
from aggregation.stores.certificates import CertificateStore

SECONDS_TO_FETCH = 10
LEAST_OF_A_KEY = 8


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(certify)
    app.command("verify")(verify_command)
    keys = typer.Typer(help="The keys that sign certificates.", no_args_is_help=True)
    for command in (create, revoke):
        keys.command()(command)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def certify(
    plugin: Annotated[str, typer.Argument(help="Name of the plugin, such as affinder.")],
    first: Annotated[str, typer.Option("--from", help="First week, such as 2026-W30.")],
    last: Annotated[str, typer.Option("--to", help="Last week, such as 2026-W42.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a signed statement of a plugin's public numbers: a .jws file, and a page made from it to read or print."""
    moment = instant(now)
    site = settings().public_url

    async def work() -> dict[str, Any]:
        checked_week(first), checked_week(last)
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is no folder. Name another with --output.")
        name = canonicalize_name(plugin)
        if is_loopback(urlsplit(site).hostname):
            confirmed(
                f"It would say that {site} issued it, which is this machine alone: set AGGREGATION_PUBLIC_URL to the address "
                "of the site. Go on all the same?",
                yes,
            )
        async with aggregate_store() as aggregate:
            try:
                certificate, statement = await prepare(
                    aggregate, site=site, key_folder=settings().key_folder, plugin=name, first=first, last=last, now=moment
                )
            except (KeyProblemError, NothingToStateError, WrongWeeksError, TooLargeError) as error:
                raise UsageError(str(error)) from error
            base = output / f"{name}-{first}-{last}"
            contents = {
                "jws": certificate.token.encode() + b"\n",
                "html": page_of(statement, certificate.kid, certificate.token).encode(),
            }
            files = {kind: base.with_name(f"{base.name}.{kind}") for kind in contents}
            output.mkdir(parents=True, exist_ok=True)
            for kind, content in contents.items():
                files[kind].write_bytes(content)
            await CertificateStore(aggregate.engine).add(certificate)  # last: nobody shall see one that nobody has
        return {
            "certificate": certificate.id,
            "plugin": name,
            "kid": certificate.kid,
            "address": f"{statement.iss}/certificates/{certificate.id}",
            "files": {kind: str(file) for kind, file in files.items()},
        }

    issued = run(work)
    if as_json:
        print_json(issued)
        return
    console.print(f"Certificate {issued['certificate']} of {issued['plugin']} is issued.", markup=False)
    for file in issued["files"].values():
        console.print(f"  {file}", markup=False, soft_wrap=True)
    console.print(f"Everybody can see it at {issued['address']}", markup=False, soft_wrap=True)


def verify_command(
    file: Annotated[Path, typer.Argument(help="A .jws file, or - for standard input.")],
    keys: Annotated[
        str | None,
        typer.Option(
            "--keys",
            help="Check against this list of keys alone, without a store: a saved copy of a service's "
            "/.well-known/jwks.json, or its address. Retractions can't be seen then.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a certificate. Exit code 0: valid; 1: altered, of an unknown or revoked key, or a number was retracted since."""
    token = _token(file)

    async def work() -> Verdict:
        if keys is not None:
            return verify(token, parse_key_set(_key_document(keys)), None)
        try:
            async with aggregate_store() as aggregate:
                return await verify_here(aggregate, token)
        except UsageError as error:
            raise UsageError(
                f"{error} Or check it without a store: save the service's /.well-known/jwks.json, and name it with --keys."
            ) from error

    try:
        verdict = run(work)
    except KeyProblemError as error:
        errors.print(str(error), style="red", markup=False)
        raise typer.Exit(USAGE) from error
    statement = verdict.statement
    if as_json:
        print_json(
            {
                "outcome": verdict.outcome,
                "explanation": verdict.explanation,
                "kid": verdict.kid,
                "retracted": verdict.retracted,
                "retractions_known": verdict.retractions_known,
                "certificate": statement and statement.jti,
                "plugin": statement and statement.sub,
                "from": statement and statement.first_week,
                "to": statement and statement.last_week,
            }
        )
    else:
        valid = verdict.outcome is Outcome.VALID
        console.print(f"{verdict.outcome.upper()}: {verdict.explanation}", style="green" if valid else "red", markup=False)
        if statement is not None and verdict.outcome in (Outcome.VALID, Outcome.RETRACTED):
            median = f"{statement.installs.median:,}" if statement.installs.median else f"fewer than {statement.listed_from}"
            console.print(
                f"{statement.sub}, {statement.first_week} to {statement.last_week}: weekly installs, median {median}, peak "
                f"{statement.installs.peak:,} people who take part.",
                markup=False,
            )
    if verdict.outcome is not Outcome.VALID:
        raise typer.Exit(NOT_DONE)


def _token(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(MOST_BYTES + 1) if str(file) == "-" else file.open("rb").read(MOST_BYTES + 1)
    except OSError as error:
        errors.print(f"{file} can't be read: {error.strerror or error}.", style="red", markup=False)
        raise typer.Exit(USAGE) from error
    return text_of(raw)


def _key_document(where: str) -> Any:
    import httpx

    try:
        if where.startswith(("https://", "http://")):
            answer = httpx.get(where, timeout=SECONDS_TO_FETCH)
            answer.raise_for_status()
            return answer.json()
        return json.loads(Path(where).read_text("utf-8"))
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UsageError(f"The list of keys {where} can't be read: {error}") from error


def create(now: NowOption = None, as_json: JsonOption = False) -> None:
    """Create a key that signs from now on. Its private half stays in a folder of this machine.

    A key that signed before is retired: what it signed stays valid.
    """
    moment = instant(now)
    folder = settings().key_folder

    async def work() -> tuple[str, list[str]]:
        async with aggregate_store() as aggregate, turn(aggregate.engine, "keys", settings().data, lambda: None):
            key = new_key(folder, moment)
            return key.kid, await CertificateStore(aggregate.engine).add_key(key)

    kid, retired = run(work)
    if as_json:
        print_json({"key": kid, "private_half": str(private_file(folder, kid)), "retired": retired})
        return
    where = f"Its private half is {private_file(folder, kid)}: keep a copy of it in a safe."
    console.print(f"Key {kid} signs from now on. {where}", markup=False, soft_wrap=True)
    for old in retired:
        console.print(f"Key {old} is retired. It stays published, and what it signed stays valid.", markup=False)


def revoke(
    kid: Annotated[str, typer.Argument(help="As `keys list` shows it; the first eight letters are enough.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence. It stays public.")],
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key, for where somebody else may have its private half: nothing that it signed is valid any more."""
    moment = instant(now)

    async def look() -> str:
        checked_reason(reason)
        async with aggregate_store() as aggregate:
            keys = {key.kid: key for key in await CertificateStore(aggregate.engine).keys()}
            meant = [known for known in keys if known.startswith(kid)] if len(kid) >= LEAST_OF_A_KEY else []
            if len(meant) != 1:
                raise UsageError(f"There is no key {kid[:64]!r}. `keys list` shows all.")
            if keys[meant[0]].revoked_at is not None:
                raise UsageError(f"The key {meant[0]} is revoked already.")
            return meant[0]

    async def work(kid: str) -> None:
        async with aggregate_store() as aggregate:
            await CertificateStore(aggregate.engine).revoke(kid, checked_reason(reason), moment)
        private_file(settings().key_folder, kid).unlink(missing_ok=True)

    whole = run(look)
    confirmed(f"Revoke {whole}? Every certificate that it signed becomes invalid, for ever.", yes)
    run(lambda: work(whole))
    if as_json:
        print_json({"revoked": whole})
        return
    console.print(f"Key {whole} is revoked. `keys create` makes another, if it was the one that signs.", markup=False)


def list_keys(as_json: JsonOption = False) -> None:
    """List the published keys."""

    async def work() -> Any:
        async with aggregate_store() as aggregate:
            return await CertificateStore(aggregate.engine).keys()

    keys = run(work)
    if as_json:
        print_json(key_set(keys))
        return
    if not keys:
        console.print("There is no key yet. `python -m aggregation keys create` makes one.")
        return
    table = Table(Column("key", overflow="fold"), "created", "state", "private half")
    for key in keys:
        state = "signs"
        if key.revoked_at is not None:
            state = f"revoked {key.revoked_at:%Y-%m-%d}: {key.revoked_because}"
        elif key.retired_at is not None:
            state = f"retired {key.retired_at:%Y-%m-%d}"
        table.add_row(key.kid, f"{key.created_at:%Y-%m-%d}", Text(state), _where(private_file(settings().key_folder, key.kid)))
    console.print(table)


def _where(private_half: Path) -> str:
    try:
        private_half.read_bytes()
    except FileNotFoundError:
        return "not here"
    except OSError as error:
        return f"here, but can't be read ({error.strerror}): it must belong to the user that runs this"
    return "here"
