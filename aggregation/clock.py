"""The only source of the current time, so that tests and rehearsals can shift it."""

from datetime import UTC, datetime


class Clock:
    """UTC time, or time that runs on from ``start``. A ``start`` without a time zone is UTC."""

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        self._offset = None if start is None else start - datetime.now(UTC)

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now if self._offset is None else now + self._offset
