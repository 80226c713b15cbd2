"""The table of settings, generated from their declarations."""

from collections.abc import Iterator

from msgspec import Struct
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from aggregation.settings import AggregationSettings
from update_server.settings import Settings


class DescribedSetting(Struct, frozen=True):
    name: str
    default: str
    meaning: str


def described() -> Iterator[DescribedSetting]:
    for owner in (Settings, AggregationSettings):
        for name, field in owner.model_fields.items():
            if field.validation_alias is None and name != "aggregation":
                yield DescribedSetting(f"{_prefix(owner)}{name.upper()}", _default(field), field.description or "")


def _prefix(owner: type[BaseSettings]) -> str:
    return str(owner.model_config.get("env_prefix", ""))


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value is PydanticUndefined or value == "":
        return ""
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def page() -> str:
    """Return docs/settings.md."""
    rows = [f"| `{item.name}` | {f'`{item.default}`' if item.default else ''} | {item.meaning} |" for item in described()]
    head = [
        "# Settings",
        "",
        "Every setting is an environment variable. This page is made by `update-server settings --markdown`.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"
