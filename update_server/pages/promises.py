"""What the privacy page promises, each with the test that fails where it does not hold.

``docs/promises.md`` is made from this, and ``tests/update_server/pages/test_promises.py`` sees to it that every test is there.
"""

from __future__ import annotations

from msgspec import Struct


class Promise(Struct, frozen=True):
    """A promise in a sentence, and the tests that hold it: files and names under ``tests/``, as pytest has them."""

    text: str
    tests: tuple[str, ...]


class Group(Struct, frozen=True):
    """Promises about one thing."""

    title: str
    promises: tuple[Promise, ...]


PROMISES: tuple[Group, ...] = ()


def markdown() -> str:
    """Return ``docs/promises.md``."""
    lines = [
        "# Promises, and the tests that hold them",
        "",
        "Made from `update_server/pages/promises.py` by `make docs`. The privacy page shows the same table.",
    ]
    for group in PROMISES:
        lines += ["", f"## {group.title}", "", "| promise | test |", "|---|---|"]
        lines += [f"| {one.text} | {'<br>'.join(f'`{test}`' for test in one.tests)} |" for one in group.promises]
    return "\n".join(lines) + "\n"
