"""Commands for certificates and the keys that sign them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
from msgspec import structs
from packaging.utils import canonicalize_name
from rich.table import Column, Table
from rich.text import Text

from aggregation.certificates.issue import prepare, verify_with_store
from aggregation.certificates.keys import key_set, new_key, parse_key_set, private_file
from aggregation.certificates.signing import MAX_BYTES, Outcome, Verdict, text_of, verify
from aggregation.cli.opening import effective_time, open_aggregate_store, run, settings
from aggregation.cli.options import (
    EXIT_FAILURE,
    EXIT_USAGE,
    JsonOption,
    NowOption,
    UsageError,
    YesOption,
    validate_reason,
    validate_week,
)
from aggregation.cli.output import confirm_or_exit, console, errors, print_json
from aggregation.jobs import wait_for_lock
from aggregation.settings import is_loopback
from aggregation.stores.certificates import CertificateStore

SECONDS_TO_FETCH = 10
MIN_KEY_PREFIX = 8

app = typer.Typer()
keys_app = typer.Typer(help="The keys that sign certificates.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


@app.command()
def certify(
    plugin: Annotated[str, typer.Argument(help="Name of the plugin, such as affinder.")],
    first: Annotated[str, typer.Option("--from", help="First week, such as 2026-W30.")],
    last: Annotated[str, typer.Option("--to", help="Last week, such as 2026-W42.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a plugin's public numbers: write a .jws file and publish a page to read or print."""
    moment = effective_time(now)
    site = settings().public_url

    async def work() -> dict[str, Any]:
        validate_week(first), validate_week(last)
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is not a folder. Choose another with --output.")
        name = canonicalize_name(plugin)
        if is_loopback(urlsplit(site).hostname):
            confirm_or_exit(
                f"The certificate would name {site} as its issuer, which is only reachable on this machine. Set "
                "AGGREGATION_PUBLIC_URL to the address of the site. Continue anyway?",
                yes,
            )
        async with open_aggregate_store() as aggregate:
            certificate, statement = await prepare(
                aggregate, site=site, key_folder=settings().key_folder, plugin=name, first=first, last=last, now=moment
            )
            file = output / f"{name}-{first}-{last}.jws"
            output.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{certificate.token}\n", "ascii")
            await CertificateStore(aggregate.engine).add(certificate)  # last, so that every page has a file
        return {
            "certificate": certificate.id,
            "plugin": name,
            "kid": certificate.kid,
            "address": f"{statement.iss}/certificates/{certificate.id}",
            "file": str(file),
        }

    issued = run(work)
    if as_json:
        print_json(issued)
        return
    console.print(f"Wrote {issued['file']}. Page to read or print: {issued['address']}", markup=False, soft_wrap=True)


@app.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="Certificate (.jws file), or - for standard input.")],
    keys: Annotated[
        str | None,
        typer.Option(
            "--keys",
            help="Verify without a store, against a saved copy of a service's /.well-known/jwks.json, or its URL. "
            "Retractions are then not checked.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a certificate. Exit code 0: valid; 1: unreadable, altered, unknown or revoked key, or retracted numbers."""
    token = _token(file)

    async def work() -> Verdict:
        if keys is not None:
            return verify(token, parse_key_set(_key_document(keys)), None)
        try:
            async with open_aggregate_store() as aggregate:
                return await verify_with_store(aggregate, token)
        except UsageError as error:
            raise UsageError(
                f"{error} Or verify without a store: save the service's /.well-known/jwks.json and pass it with --keys."
            ) from error

    verdict = run(work)
    statement = verdict.statement
    if as_json:
        print_json(
            msgspec.to_builtins(structs.replace(verdict, statement=None))
            | {
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
                f"{statement.installs.peak:,} people.",
                markup=False,
            )
    if verdict.outcome is not Outcome.VALID:
        raise typer.Exit(EXIT_FAILURE)


def _token(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(MAX_BYTES + 1) if str(file) == "-" else file.open("rb").read(MAX_BYTES + 1)
    except OSError as error:
        errors.print(f"{file} can't be read: {error.strerror or error}.", style="red", markup=False)
        raise typer.Exit(EXIT_USAGE) from error
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


@keys_app.command()
def create(now: NowOption = None, as_json: JsonOption = False) -> None:
    """Create the key for new certificates; earlier ones stay valid. The private half stays on this machine."""
    moment = effective_time(now)
    folder = settings().key_folder

    async def work() -> str:
        async with open_aggregate_store() as aggregate, wait_for_lock(aggregate.engine, "keys", settings().data):
            key = new_key(folder, moment)
            await CertificateStore(aggregate.engine).add_key(key)
            return key.kid

    kid = run(work)
    file = private_file(folder, kid)
    if as_json:
        print_json({"key": kid, "private_half": str(file)})
        return
    console.print(f"Key {kid} signs from now on. Keep a copy of {file} in a safe.", markup=False, soft_wrap=True)


@keys_app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="Id from `keys list`; its first eight characters are enough.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence. It stays public.")],
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key whose private half may be compromised: all its certificates become invalid."""
    moment = effective_time(now)

    async def look() -> str:
        validate_reason(reason)
        async with open_aggregate_store() as aggregate:
            keys = {key.kid: key for key in await CertificateStore(aggregate.engine).keys()}
            meant = [known for known in keys if known.startswith(kid)] if len(kid) >= MIN_KEY_PREFIX else []
            if len(meant) != 1:
                raise UsageError(f"No single key matches {kid[:64]!r}. `keys list` shows all keys.")
            if keys[meant[0]].revoked_at is not None:
                raise UsageError(f"The key {meant[0]} is already revoked.")
            return meant[0]

    async def work(kid: str) -> None:
        async with open_aggregate_store() as aggregate:
            await CertificateStore(aggregate.engine).revoke(kid, validate_reason(reason), moment)
        private_file(settings().key_folder, kid).unlink(missing_ok=True)

    whole = run(look)
    confirm_or_exit(f"Revoke {whole}? All certificates that it signed become permanently invalid.", yes)
    run(lambda: work(whole))
    if as_json:
        print_json({"revoked": whole})
        return
    console.print(f"Key {whole} is revoked. If it was the signing key, create another with `keys create`.", markup=False)


@keys_app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the published keys."""

    async def work() -> Any:
        async with open_aggregate_store() as aggregate:
            return await CertificateStore(aggregate.engine).keys()

    keys = run(work)
    if as_json:
        print_json(key_set(keys))
        return
    if not keys:
        console.print("There are no keys yet. Create one with `python -m aggregation keys create`.")
        return
    table = Table(Column("key", overflow="fold"), "created", "revoked", "private half")
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d}: {key.revoked_because}" if key.revoked_at else ""
        is_here = private_file(settings().key_folder, key.kid).is_file()
        table.add_row(key.kid, f"{key.created_at:%Y-%m-%d}", Text(revoked), "here" if is_here else "not here")
    console.print(table)
