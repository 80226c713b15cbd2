"""Words in a terminal. Text of a server is shown as text: neither as markup nor as control sequences of the terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from rich.console import Console
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def plain(text: str, style: str = "") -> Text:
    """Return ``text`` without control characters (line breaks become spaces), in a style of rich's."""
    visible = "".join(" " if char in "\r\n\t" else char for char in text if char in "\r\n\t" or not _is_control(char))
    return Text(visible, style=style)


def plain_lines(text: str) -> Text:
    """Return a text of several lines without control characters."""
    return Text("\n").join(plain(line) for line in text.split("\n"))


def say(text: str) -> None:
    """Print a sentence."""
    _print(out, plain(text))


def warn(text: str) -> None:
    """Print a sentence that the reader should not miss, to standard error."""
    _print(err, plain(text, "yellow"))


def fail(text: str) -> None:
    """Print why something did not work, to standard error."""
    _print(err, plain(text, "red"))


def say_command(command: str) -> None:
    """Print commands to copy, each in one line however narrow the terminal is."""
    for line in command.splitlines():
        out.print(Text("  ") + plain(line, "cyan"), soft_wrap=True)


def say_json(value: Any) -> None:
    """Print a value as JSON in ASCII: dataclasses as objects, instants as ISO texts."""
    print(json.dumps(as_json(value), indent=2))


def as_json(value: Any) -> Any:
    """Return a value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value


def is_interactive() -> bool:
    """Whether someone is there who can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def waiting(text: str) -> AbstractContextManager[Any]:
    """Show in a terminal that something is in progress, until the block ends."""
    return err.status(plain(text)) if err.is_terminal else nullcontext()


def _print(console: Console, text: Text) -> None:
    """Print a sentence; what a file or another program reads is not wrapped."""
    console.print(text, soft_wrap=not console.is_terminal)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")
