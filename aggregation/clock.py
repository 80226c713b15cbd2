"""The one place that asks what time it is.

Everything that depends on time takes ``now`` or a Clock, so that weeks can pass in a test and a rehearsal can run on a date
of its own choosing.
"""

from datetime import UTC, datetime


class Clock:
    """Wall time in UTC, or time that goes on from a given instant.

    ``start``: with a time zone; None for the machine's own time.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            start = start.replace(tzinfo=UTC)
        self._offset = None if start is None else start - datetime.now(UTC)

    def now(self) -> datetime:
        """Return the current instant, in UTC."""
        now = datetime.now(UTC)
        return now if self._offset is None else now + self._offset
