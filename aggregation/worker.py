"""A process that counts, for `compute.count_week`: ``python -m aggregation.worker``.

Standard input: messages, each behind its length in 4 bytes; the catalogue first, then reports, at last a message of no length.
Standard output: what was counted. Where the input ends before, so does the process, and says nothing: nobody is there to ask.
"""

from __future__ import annotations

import gc
import sys
from typing import BinaryIO

import msgspec

from aggregation.catalogue import Entry
from aggregation.counting import Counting, RawRow

LENGTH = 4


def count(source: BinaryIO, target: BinaryIO) -> int:
    """Count what comes from ``source``, and write the counts to ``target``; return the exit code."""
    catalogue = _message(source)
    if not catalogue:
        return 1
    counting = Counting(msgspec.msgpack.decode(catalogue, type=tuple[Entry, ...]))
    decoder = msgspec.msgpack.Decoder(list[RawRow])
    while (message := _message(source)) is not None:
        if not message:
            target.write(msgspec.msgpack.encode(counting.counts()))
            target.flush()
            return 0
        counting.add(decoder.decode(message))
    return 1


def _message(source: BinaryIO) -> bytes | None:
    """The next message, empty at the end, None where the input broke off."""
    length = source.read(LENGTH)
    if len(length) < LENGTH:
        return None
    size = int.from_bytes(length, "big")
    message = source.read(size)
    return message if len(message) == size else None


if __name__ == "__main__":
    gc.disable()  # nothing that is made here refers to itself, and looking for that takes a third of the time
    sys.exit(count(sys.stdin.buffer, sys.stdout.buffer))
