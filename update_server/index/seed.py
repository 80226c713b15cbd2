"""The index that ships in the wheel, so that a service which starts offline for the first time has something to say.

It holds bare facts: names, versions, Requires-Python, wheel tags, yanks, requirements on versions, command ids. No texts, so
those endpoints wait for the first refresh, and nothing of conda-forge. ``update-server index seed`` makes it from an upstream.
"""

import lzma
from importlib.resources import files
from pathlib import Path

import msgspec

from update_server.index.model import FACTS_FORMAT, Facts, Package
from update_server.index.snapshot import Index, Origin

MAX_SIZE = 64 * 2**20
"""Bytes that a seed may unpack to."""


class BrokenSeedError(Exception):
    """A file that is not a seed, or that this version cannot read."""


def shipped() -> Path:
    """Return the path of the seed in the installed package."""
    return Path(str(files("update_server.index") / "seed.json.xz"))


def pack(facts: Facts) -> bytes:
    """Return the seed of some facts, compressed."""
    seed = Facts(FACTS_FORMAT, facts.as_of, False, tuple(map(_bare, facts.packages)), tuple(map(_bare, facts.parts)))
    return lzma.compress(msgspec.json.encode(seed), preset=9 | lzma.PRESET_EXTREME)


def _bare(package: Package) -> Package:
    releases = (msgspec.structs.replace(release, files=tuple(dict.fromkeys(release.files))) for release in package.releases)
    return msgspec.structs.replace(package, conda=None, vulnerabilities={}, releases=tuple(releases))


def read(path: Path) -> Index:
    """Return the index of the seed at ``path``. Raises BrokenSeedError."""
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
