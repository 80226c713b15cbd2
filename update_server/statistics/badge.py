"""A shields.io badge with a plugin's number of people."""

from urllib.parse import urlencode

from msgspec import Struct

from aggregation.publication import LISTED_FROM

LABEL = "installs"
CACHE_SECONDS = 86400


class Badge(Struct, rename="camel"):
    """The JSON of https://shields.io/badges/endpoint-badge."""

    schema_version: int
    label: str
    message: str
    color: str
    is_error: bool
    cache_seconds: int


def badge_of(people: int | None) -> Badge:
    """``people``: rounded down, hence the plus; None if hidden."""
    message = f"{people:,}+" if people is not None else f"fewer than {LISTED_FROM}"
    return Badge(1, LABEL, message, "#00629b" if people is not None else "lightgrey", False, CACHE_SECONDS)


def badge_markdown(site: str, name: str) -> str:
    """``site``: without trailing slash."""
    image = f"https://img.shields.io/endpoint?{urlencode({'url': f'{site}/api/stats/plugins/{name}/badge'})}"
    return f"[![{LABEL}]({image})]({site}/plugins/{name})"
