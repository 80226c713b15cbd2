from __future__ import annotations

import pytest
from napari_telemetry.wire import KEY_FIELDS, TELEMETRY_LEVELS, Level, fields_of

from aggregation.catalogue import CATALOGUE, LEVEL_COLUMN, MAX_DIMENSIONS, Entry, questions_by_level, questions_using, topics


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_every_collected_field_is_used_by_a_question(level: Level) -> None:
    unasked = [field.name for field in fields_of(level) if field.name not in KEY_FIELDS and not questions_using(field.name)]
    assert unasked == []


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.id)
def test_no_entry_uses_a_field_above_its_level(entry: Entry) -> None:
    sent = {field.name for field in fields_of(entry.level)} | {LEVEL_COLUMN}
    assert set(entry.fields) <= sent


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.id)
def test_every_entry_is_a_question_within_bounds(entry: Entry) -> None:
    assert entry.question.endswith("?")
    assert len(entry.dimensions) <= MAX_DIMENSIONS
    assert len({dimension.field for dimension in entry.dimensions if dimension.part is not None}) <= 1
    assert entry.fixed in (0, 1)


def test_ids_and_urls_are_unique() -> None:
    assert len({entry.id for entry in CATALOGUE}) == len(CATALOGUE)
    for entries in topics().values():
        assert len({(entry.fixed, entry.by) for entry in entries}) == len(entries)


def test_every_subfield_of_a_list_is_used() -> None:
    parts = {(dimension.field, dimension.part) for entry in CATALOGUE for dimension in entry.dimensions if dimension.part}
    assert {("plugins", "name"), ("plugins", "version"), ("command_usage", "@key"), ("command_usage", "@value")} <= parts
    layers = {part for field, part in parts if field == "data_size_info"}
    assert layers == {"layer", "class", "dtype", "size_category", "ndim", "count"}


def test_the_client_ships_the_questions_of_this_catalogue() -> None:
    import json
    from importlib.resources import files

    shipped = json.loads(files("napari_telemetry").joinpath("questions.json").read_text("utf-8"))
    assert shipped == questions_by_level(), "run make docs"
