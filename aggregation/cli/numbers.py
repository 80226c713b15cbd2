"""Commands for public numbers: list, show, export, retract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from napari_telemetry.weeks import next_week
from packaging.utils import canonicalize_name
from rich.table import Table

from aggregation.catalogue import CATALOGUE, PLUGIN, Entry, questions_by_level
from aggregation.cli.opening import effective_time, open_aggregate_store, run
from aggregation.cli.options import (
    JsonOption,
    NowOption,
    UsageError,
    YesOption,
    did_you_mean,
    find_entry,
    validate_reason,
    validate_week,
)
from aggregation.cli.output import confirm_or_exit, console, errors, print_json, quantity, were
from aggregation.export import Format, export
from aggregation.grafana import write as write_dashboards
from aggregation.publication import LISTED_FROM
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.records import Records

app = typer.Typer()


QuestionsOption = Annotated[
    bool, typer.Option("--questions", help="Print only the questions by level, as JSON: the file that the client ships.")
]


GrafanaOption = Annotated[
    Path | None, typer.Option("--grafana", help="Write Grafana dashboards, one panel per question, into this folder.")
]


@app.command()
def catalogue(as_json: JsonOption = False, questions: QuestionsOption = False, grafana: GrafanaOption = None) -> None:
    """List the public questions, and the level and dimensions of each."""
    if grafana is not None:
        for file in write_dashboards(grafana):
            console.print(str(file))
        return
    if questions:
        print_json(questions_by_level())
        return
    if as_json:
        print_json(
            [
                {"id": entry.id, "question": entry.question, "level": entry.level, "fields": entry.fields, "by": entry.by}
                for entry in CATALOGUE
            ]
        )
        return
    table = Table("entry", "question", "level", "by")
    for entry in CATALOGUE:
        table.add_row(entry.id, entry.question, entry.level, ", ".join(dimension.name for dimension in entry.dimensions))
    console.print(table)


async def known_plugin(aggregate: AggregateStore, entry: Entry, name: str) -> str:
    """Return the normalized name. Raises UsageError if the plugin has no public numbers."""
    if PLUGIN not in entry.dimensions:
        with_plugins = ", ".join(one.id for one in CATALOGUE if PLUGIN in one.dimensions)
        raise UsageError(f"The entry {entry.id} is not about plugins. These are: {with_plugins}.")
    key = canonicalize_name(name)
    names = await aggregate.values_of(entry)
    entry_retractions = await Records(aggregate.engine).retractions(entry.id)
    if key in names or any(one.of.get(PLUGIN.name) == key for one in entry_retractions):
        return key
    raise UsageError(
        f"There are no public numbers of {name[:64]!r}: fewer than {LISTED_FROM} participants had it in each week, "
        f"or there is no such plugin.{did_you_mean(key, names)}"
    )


@app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder to write; created if missing.")],
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="csv or json; may be repeated. Default: both.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write all public numbers into a folder, with a data dictionary and a licence, for archives such as Zenodo."""

    async def work() -> int:
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not force)):
            raise UsageError(f"{folder} already exists. Choose another folder, or use --force.")
        async with open_aggregate_store() as aggregate:
            if not await aggregate.public_weeks():
                raise UsageError("No week has been published yet: there is nothing to export.")
            return await export(aggregate, folder, list(dict.fromkeys(formats or Format)))

    numbers = run(work)
    if as_json:
        print_json({"numbers": numbers, "folder": str(folder)})
        return
    console.print(
        f"{numbers:,} public numbers are in {folder}; its README.md describes them.",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def retract(
    name: Annotated[str | None, typer.Argument(metavar="[ENTRY]", help="Default: all entries about plugins.")] = None,
    first: Annotated[str, typer.Option("--from", help="First week.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last week. Default: the first.")] = "",
    plugin: Annotated[str | None, typer.Option("--plugin", help="Only numbers of this plugin.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Only numbers with this value, such as python=3.9. May be repeated.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence. It stays public.")] = "",
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retract published numbers permanently, with a public reason that stays visible in their place."""
    until = last or first

    async def look() -> list[tuple[Entry, dict[str, str], int]]:
        validate_reason(reason)
        if not first:
            raise UsageError("Choose the weeks: --from 2026-W40, and --to for more than one.")
        validate_week(first), validate_week(until)
        if until < first:
            raise UsageError(f"{until} is before {first}: swap --from and --to.")
        if name is None and plugin is None:
            raise UsageError("Choose an entry from `catalogue`, or --plugin for all numbers of a plugin.")
        entries = [find_entry(name)] if name else [entry for entry in CATALOGUE if _has_dimensions(entry, where or ())]
        async with open_aggregate_store() as aggregate:
            published = await aggregate.public_weeks()
            if published and until > published[-1]:
                raise UsageError(f"{until} is not published yet; the last published week is {published[-1]}.")
            chosen = []
            for entry in entries:
                of = _values(entry, where or ())
                if plugin:
                    of[PLUGIN.name] = await known_plugin(aggregate, entry, plugin) if name else canonicalize_name(plugin)
                if count := await Records(aggregate.engine).count(entry, of, first, until):
                    chosen.append((entry, of, count))
            if not chosen:
                raise UsageError(f"There are no published numbers from {first} to {until} that match these options.")
            return chosen

    async def retract_chosen(chosen: list[tuple[Entry, dict[str, str], int]]) -> int:
        moment = effective_time(now)  # read the clock after the prompt
        async with open_aggregate_store() as aggregate:
            records = Records(aggregate.engine)
            # Record only published weeks: an unpublished week in between may be published later.
            spans = _spans(await aggregate.public_weeks(first, until))
            parts = [(entry, of, begin, end) for entry, of, _ in chosen for begin, end in spans]
            return await records.retract(parts, validate_reason(reason), moment)

    chosen = run(look)
    for entry, of, count in chosen:
        whose = "".join(f", {key} {value}" for key, value in of.items())
        errors.print(f"{entry.id}{whose}: {quantity(count, 'number')} from {first} to {until}", markup=False)
    confirm_or_exit("Retract them? This can't be undone, and the reason stays public.", yes)
    removed = run(lambda: retract_chosen(chosen))
    if as_json:
        print_json({"removed": removed, "entries": [entry.id for entry, _, _ in chosen], "from": first, "to": until})
    else:
        console.print(f"{quantity(removed, 'number')} {were(removed)} retracted.")


def _spans(weeks: Sequence[str]) -> list[tuple[str, str]]:
    """Return the first and last of each run of consecutive weeks."""
    spans: list[tuple[str, str]] = []
    for week in weeks:
        if spans and next_week(spans[-1][1]) == week:
            spans[-1] = (spans[-1][0], week)
        else:
            spans.append((week, week))
    return spans


def _has_dimensions(entry: Entry, where: Sequence[str]) -> bool:
    names = {dimension.name for dimension in entry.dimensions}
    return PLUGIN in entry.dimensions and all(text.partition("=")[0] in names for text in where)


def _values(entry: Entry, where: Sequence[str]) -> dict[str, str]:
    """Return the values given with ``--where`` by dimension. Raises UsageError."""
    names = [dimension.name for dimension in entry.dimensions]
    values = {}
    for text in where:
        key, sign, value = text.partition("=")
        if not sign or key not in names:
            raise UsageError(
                f"{text[:64]!r}: write a dimension and a value, such as python=3.9. Dimensions of {entry.id}: "
                f"{', '.join(names) or 'none'}."
            )
        values[key] = value
    return values
