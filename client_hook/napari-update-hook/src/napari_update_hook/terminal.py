"""Terminal output that strips markup and control sequences sent by servers."""

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
    """Strip control characters; replace line breaks and tabs with spaces."""
    visible = "".join(" " if char in "\r\n\t" else char for char in text if char in "\r\n\t" or not _is_control(char))
    return Text(visible, style=style)


def plain_lines(text: str) -> Text:
    return Text("\n").join(plain(line) for line in text.split("\n"))


def say(text: str) -> None:
    _print(out, plain(text))


def warn(text: str) -> None:
    _print(err, plain(text, "yellow"))


def fail(text: str) -> None:
    _print(err, plain(text, "red"))


def say_command(command: str) -> None:
    """Print a command without wrapping, so that it can be copied."""
    for line in command.splitlines():
        out.print(Text("  ") + plain(line, "cyan"), soft_wrap=True)


def say_json(value: Any) -> None:
    """Print JSON in ASCII: dataclasses as objects, datetimes in ISO format."""
    print(json.dumps(as_json(value), indent=2))


def as_json(value: Any) -> Any:
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
    return sys.stdin is not None and sys.stdin.isatty()


def waiting(text: str) -> AbstractContextManager[Any]:
    return err.status(plain(text)) if err.is_terminal else nullcontext()


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=not console.is_terminal)  # do not wrap lines in files and pipes


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")
