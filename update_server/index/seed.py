"""The index in the wheel, for a first start without network.

It has no texts and nothing of conda-forge: those endpoints wait for the first refresh.
"""

import lzma
from importlib.resources import files
from pathlib import Path

import msgspec

from update_server.index.model import FACTS_FORMAT, Facts, Package
from update_server.index.snapshot import Index, Origin

MAX_SIZE = 64 * 2**20
"""Bytes, uncompressed."""


class BrokenSeedError(Exception):
    """An unreadable seed."""


def shipped() -> Path:
    return Path(str(files("update_server.index") / "seed.json.xz"))


def pack(facts: Facts) -> bytes:
    seed = Facts(FACTS_FORMAT, facts.as_of, False, tuple(map(_bare, facts.packages)), tuple(map(_bare, facts.parts)))
    return lzma.compress(msgspec.json.encode(seed), preset=9 | lzma.PRESET_EXTREME)


def _bare(package: Package) -> Package:
    releases = (msgspec.structs.replace(release, files=tuple(dict.fromkeys(release.files))) for release in package.releases)
    return msgspec.structs.replace(package, conda=None, vulnerabilities={}, releases=tuple(releases))


def read(path: Path) -> Index:
    """Raises BrokenSeedError."""
    try:
        decompressor = lzma.LZMADecompressor(memlimit=256 * 2**20)
        text = decompressor.decompress(path.read_bytes(), max_length=MAX_SIZE)
        if not decompressor.eof:
            raise BrokenSeedError(f"Cannot read the seed index {path.name}: it is cut off or too large")
        facts = msgspec.json.decode(text, type=Facts)
    except (OSError, lzma.LZMAError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BrokenSeedError(f"Cannot read the seed index {path.name}: {error}") from error
    if facts.format != FACTS_FORMAT:
        raise BrokenSeedError(
            f"Cannot read the seed index {path.name}: format {facts.format}, this program reads {FACTS_FORMAT}"
        )
    return Index(facts, Origin.SEED)
