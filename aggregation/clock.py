"""The only source of the current time, so that tests and trial runs can shift it."""

from datetime import UTC, datetime


class Clock:
    """A clock in UTC that shows the real time, or starts at ``start`` (UTC if it has no time zone)."""

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        self._offset = None if start is None else start - datetime.now(UTC)

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now if self._offset is None else now + self._offset
