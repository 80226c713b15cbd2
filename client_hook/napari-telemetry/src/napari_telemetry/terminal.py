"""Words on a terminal. What a server said is shown as text: neither as markup nor as control sequences of the terminal."""

from __future__ import annotations

import sys
import unicodedata
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def plain(text: str, style: str = "") -> Text:
    """Return ``text`` without control characters (line breaks become spaces), in a style of rich's."""
    visible = "".join(" " if char in "\r\n\t" else char for char in text if char in "\r\n\t" or not _is_control(char))
    return Text(visible, style=style)


def say(text: str) -> None:
    """Print a sentence."""
    out.print(plain(text))


def warn(text: str) -> None:
    """Print a sentence that the reader should not miss, to standard error."""
    err.print(plain(text, "yellow"))


def fail(text: str) -> None:
    """Print why something did not work, to standard error."""
    err.print(plain(text, "red"))


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")


def counted(number: int, noun: str) -> str:
    """Return ``1 week`` or ``2 weeks``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def is_interactive() -> bool:
    """Tell whether somebody is there who can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def say_command(command: str) -> None:
    """Print a command to copy, in one line however narrow the terminal is."""
    out.print(Text("  ") + plain(command, "cyan"), soft_wrap=True)


def waiting(text: str) -> AbstractContextManager[object]:
    """Show on a terminal that something is under way, until the block ends."""
    return err.status(plain(text)) if err.is_terminal else nullcontext()
