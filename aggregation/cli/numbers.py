"""Public numbers: which there are, to look at, to take along, and to take back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from napari_telemetry.weeks import next_week
from packaging.utils import canonicalize_name
from rich.table import Table

from aggregation.catalogue import CATALOGUE, PLUGIN, Entry, questions_by_level
from aggregation.cli.opening import aggregate_store, instant, run
from aggregation.cli.options import (
    JsonOption,
    NowOption,
    UsageError,
    YesOption,
    checked_reason,
    checked_week,
    did_you_mean,
    entry_of,
)
from aggregation.cli.output import confirmed, console, errors, print_json, several, were
from aggregation.export import Format, export
from aggregation.grafana import write as write_dashboards
from aggregation.publication import LISTED_FROM
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.records import Records


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (catalogue, retract):
        app.command()(command)
    app.command("export")(export_command)


QuestionsOption = Annotated[
    bool, typer.Option("--questions", help="Print the questions by level alone, as JSON: the file that the client ships.")
]


GrafanaOption = Annotated[
    Path | None, typer.Option("--grafana", help="Write Grafana's dashboards, a panel for each question, into this folder.")
]


def catalogue(as_json: JsonOption = False, questions: QuestionsOption = False, grafana: GrafanaOption = None) -> None:
    """List the public questions, and what each needs."""
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
    """Return the name of a plugin that has public numbers, as they spell it. Raises UsageError."""
    if PLUGIN not in entry.dimensions:
        with_plugins = ", ".join(one.id for one in CATALOGUE if PLUGIN in one.dimensions)
        raise UsageError(f"The entry {entry.id} is not about plugins. These are: {with_plugins}.")
    key = canonicalize_name(name)
    names = await aggregate.values_of(entry)
    taken_back = await Records(aggregate.engine).retractions(entry.id)
    if key in names or any(one.of.get(PLUGIN.name) == key for one in taken_back):
        return key
    raise UsageError(
        f"No public number names {name[:64]!r}: fewer than {LISTED_FROM} people of those who take part had it in every week, "
        f"or there is no such plugin.{did_you_mean(key, names)}"
    )


def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder to write, made where it is missing.")],
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="csv or json; may be repeated. Default: both.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write all public numbers into a folder, with a data dictionary and a licence, for Zenodo and the like."""

    async def work() -> int:
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not force)):
            raise UsageError(f"{folder} is there already. Name another folder, or write into it with --force.")
        async with aggregate_store() as aggregate:
            if not await aggregate.public_weeks():
                raise UsageError("No week has been published yet: there is nothing to export.")
            return await export(aggregate, folder, list(dict.fromkeys(formats or Format)))

    numbers = run(work)
    if as_json:
        print_json({"numbers": numbers, "folder": str(folder)})
        return
    console.print(
        f"The public numbers, {numbers:,} of them, are in {folder}. README.md there says what they are.",
        markup=False,
        soft_wrap=True,
    )


def retract(
    name: Annotated[str | None, typer.Argument(metavar="[ENTRY]", help="Default: every entry that --plugin fits.")] = None,
    first: Annotated[str, typer.Option("--from", help="First week.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last week. Default: the first.")] = "",
    plugin: Annotated[str | None, typer.Option("--plugin", help="The numbers of this plugin alone.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Those with this value alone, such as python=3.9. May be repeated.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence. It stays public.")] = "",
    yes: YesOption = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take published numbers back, for ever, with a public reason that stays visible beside where they were."""
    until = last or first

    async def look() -> list[tuple[Entry, dict[str, str], int]]:
        checked_reason(reason)
        if not first:
            raise UsageError("Say which weeks: --from 2026-W40, and --to where it is more than one.")
        checked_week(first), checked_week(until)
        if until < first:
            raise UsageError(f"From {first} to {until} there are no weeks that were published.")
        if name is None and plugin is None:
            raise UsageError("Say what: an entry, as `catalogue` lists them, or --plugin for all numbers of a plugin.")
        entries = [entry_of(name)] if name else [entry for entry in CATALOGUE if _can_be_chosen(entry, where or ())]
        async with aggregate_store() as aggregate:
            published = await aggregate.public_weeks()
            if published and until > published[-1]:
                raise UsageError(f"{until} is not published yet; the last week that is, is {published[-1]}.")
            chosen = []
            for entry in entries:
                of = _values(entry, where or ())
                if plugin:
                    of[PLUGIN.name] = await known_plugin(aggregate, entry, plugin) if name else canonicalize_name(plugin)
                if count := await Records(aggregate.engine).count(entry, of, first, until):
                    chosen.append((entry, of, count))
            if not chosen:
                raise UsageError(f"From {first} to {until} there is no published number like that.")
            return chosen

    async def take_back(chosen: list[tuple[Entry, dict[str, str], int]]) -> int:
        moment = instant(now)  # not when the question was asked: somebody may have thought about it for long
        async with aggregate_store() as aggregate:
            records = Records(aggregate.engine)
            # Of weeks that are named in public alone: one in between that comes out later has not been taken back.
            spans = _spans(await aggregate.public_weeks(first, until))
            parts = [(entry, of, begin, end) for entry, of, _ in chosen for begin, end in spans]
            return await records.retract(parts, checked_reason(reason), moment)

    chosen = run(look)
    for entry, of, count in chosen:
        whose = "".join(f", {key} {value}" for key, value in of.items())
        errors.print(f"{entry.id}{whose}: {several(count, 'number')} from {first} to {until}", markup=False)
    confirmed("Retract them? They are gone for ever, and the reason stays public.", yes)
    removed = run(lambda: take_back(chosen))
    if as_json:
        print_json({"removed": removed, "entries": [entry.id for entry, _, _ in chosen], "from": first, "to": until})
    else:
        console.print(f"{several(removed, 'number')} {were(removed)} retracted.")


def _spans(weeks: Sequence[str]) -> list[tuple[str, str]]:
    """The first and the last of each run of weeks that follow each other."""
    spans: list[tuple[str, str]] = []
    for week in weeks:
        if spans and next_week(spans[-1][1]) == week:
            spans[-1] = (spans[-1][0], week)
        else:
            spans.append((week, week))
    return spans


def _can_be_chosen(entry: Entry, where: Sequence[str]) -> bool:
    """Whether an entry is about plugins and has all values that are asked for."""
    names = {dimension.name for dimension in entry.dimensions}
    return PLUGIN in entry.dimensions and all(text.partition("=")[0] in names for text in where)


def _values(entry: Entry, where: Sequence[str]) -> dict[str, str]:
    """The values that numbers must have. Raises UsageError."""
    names = [dimension.name for dimension in entry.dimensions]
    values = {}
    for text in where:
        key, sign, value = text.partition("=")
        if not sign or key not in names:
            raise UsageError(
                f"{text[:64]!r}: {entry.id} has these to choose by: {', '.join(names) or 'none'}. Write python=3.9."
            )
        values[key] = value
    return values
