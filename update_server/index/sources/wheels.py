"""Manifest and metadata of a plugin, read from an untrusted wheel.

Nothing is installed, built, imported or written (`npe2.fetch_manifest` would run an sdist's code). A file of a few
kilobytes can cost a parser minutes and gigabytes, so a child process with limits reads it.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import Distribution
from typing import Any, Self

import msgspec
import yaml
from msgspec import Struct
from npe2 import PackageMetadata, PluginManifest
from pydantic import ValidationError

MAX_MEMBERS = 100_000
MAX_BYTES = 2**20
"""Maximum bytes of an unpacked member."""

TIME_LIMIT_S = 10
"""CPU seconds per wheel; usually it takes 0.01."""

WAIT_TIMEOUT_S = 120
"""Wall-clock limit, for systems without a CPU limit."""

MEMORY_LIMIT = 2**30
"""Address space of the child in bytes."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnusableWheelError(Exception):
    """The wheel cannot be used; the message gives the reason."""


class WheelContent(Struct, frozen=True):
    """The data read from a wheel. ``manifest``: as JSON. ``metadata``: for the lists."""

    manifest: bytes
    is_public: bool
    display_name: str
    metadata: dict[str, Any]
    readers: tuple[tuple[str, ...], ...]


class WheelReader:
    """Reads wheels one at a time in a child process, which is restarted if it was killed."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
        await self._kill()

    async def read(self, wheel: bytes) -> WheelContent:
        """Return the content of a wheel. Raises UnusableWheelError."""
        async with self._lock:
            try:
                async with asyncio.timeout(WAIT_TIMEOUT_S):
                    answer = await self._ask(wheel)
            except (TimeoutError, EOFError, OSError):  # EOFError, OSError: the child was killed
                code = await self._kill()
                limit = (
                    f"{self._time_limit_s} s" if code in (None, -signal.SIGPROF) else f"{MEMORY_LIMIT // 2**20} MiB of memory"
                )
                raise UnusableWheelError(f"reading the wheel takes more than {limit}") from None
        outcome = msgspec.json.decode(answer, type=_Outcome)
        if outcome.content is None:
            raise UnusableWheelError(outcome.error)
        return outcome.content

    async def _ask(self, wheel: bytes) -> bytes:
        if self._child is None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                str(self._time_limit_s),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(len(wheel).to_bytes(8) + wheel)
        await stdin.drain()
        return await stdout.readexactly(int.from_bytes(await stdout.readexactly(8)))

    async def _kill(self) -> int | None:
        """Kill the child. Return its exit code, or None if it was still running."""
        child, self._child = self._child, None
        if child is None:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 1)
        code = child.returncode
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()
        return code


class _Outcome(Struct):
    content: WheelContent | None = None
    error: str = ""


def main() -> None:
    """Read wheels from stdin and write results to stdout, within limits."""
    with contextlib.suppress(ImportError):  # POSIX only
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    time_limit_s = float(sys.argv[1])
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while length := source.read(8):
        wheel = source.read(int.from_bytes(length))
        _limit_time(time_limit_s)
        try:
            outcome = _Outcome(parse_wheel(wheel))
        except UnusableWheelError as error:
            outcome = _Outcome(error=str(error))
        _limit_time(0)
        answer = msgspec.json.encode(outcome)
        target.write(len(answer).to_bytes(8) + answer)
        target.flush()


def _limit_time(seconds: float) -> None:
    """Limit CPU time, because wall-clock time depends on other load. 0 removes the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def parse_wheel(wheel: bytes) -> WheelContent:
    """Parse a wheel without limits of time and memory. Raises UnusableWheelError."""
    try:
        return _read(wheel)
    except UnusableWheelError:
        raise
    except Exception as error:  # a hostile file can make parsers raise anything
        raise UnusableWheelError(f"the wheel can't be read: {type(error).__name__}: {str(error)[:200]}") from error


def _read(wheel: bytes) -> WheelContent:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        if len(archive.infolist()) > MAX_MEMBERS:
            raise UnusableWheelError("the wheel has too many members")
        _member(archive, ".dist-info/METADATA")
        metadata: Any = _WheelDistribution(archive).metadata  # in fact an email.message.Message
        text, ending = _manifest(archive)
    manifest = _validate_manifest(_parsed(text, ending))
    known = manifest.model_copy(update={"package_metadata": _package_metadata(metadata)})
    return WheelContent(
        known.model_dump_json(exclude={"npe1_shim"}).encode(),
        manifest.visibility == "public",
        manifest.display_name or metadata.get("Name", ""),
        {
            "author": metadata.get("Author"),
            "license": metadata.get("License") or metadata.get("License-Expression"),
            "home_page": metadata.get("Home-page"),
            "project_url": metadata.get_all("Project-URL"),
        },
        tuple(tuple(reader.filename_patterns or ()) for reader in manifest.contributions.readers or ()),
    )


class _WheelDistribution(Distribution):
    """Distribution that lets importlib.metadata read the wheel's entry points, as npe2 does."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def read_text(self, filename: str) -> str | None:
        try:
            return _member(self._archive, f".dist-info/{filename}").decode("utf-8")
        except KeyError:
            return None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        raise NotImplementedError


def _manifest(archive: zipfile.ZipFile) -> tuple[str, str]:
    """Return the manifest's text and file extension."""
    try:
        entries = _WheelDistribution(archive).entry_points
    except (UnicodeDecodeError, ValueError) as error:
        raise UnusableWheelError(f"its entry points can't be read: {error}") from error
    entry = next(iter(entries.select(group="napari.manifest")), None)
    if entry is None:
        if entries.select(group="napari.plugin"):
            raise UnusableWheelError("it is an npe1 plugin, whose contributions are known only by running it")
        raise UnusableWheelError("No npe2 or npe1 entry point found in wheel")
    try:
        path = f"{entry.module.replace('.', '/')}/{entry.attr}"
        return _member(archive, path).decode("utf-8-sig"), entry.attr.rpartition(".")[2]
    except AttributeError:
        raise UnusableWheelError(f"its entry point {entry.value[:100]!r} does not name a file") from None
    except KeyError:
        raise UnusableWheelError(f"manifest {entry.attr!r} does not exist in distribution") from None
    except UnicodeDecodeError as error:
        raise UnusableWheelError(f"its manifest is not text: {error}") from error


def _member(archive: zipfile.ZipFile, ending: str) -> bytes:
    """Return the member whose name has this ending, up to `MAX_BYTES`. Raises KeyError."""
    for info in archive.infolist():
        if info.filename == ending or (
            ending.startswith(".") and info.filename.endswith(ending) and info.filename.count("/") == 1
        ):
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnusableWheelError(f"{info.filename} uses an unsupported compression method")
            with archive.open(info) as member:
                content = member.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise UnusableWheelError(f"{info.filename} is longer than {MAX_BYTES} bytes")
            return content
    raise KeyError(ending)


def _parsed(text: str, ending: str) -> Any:
    try:
        if ending == "toml":
            return tomllib.loads(text)
        if ending == "json":
            return json.loads(text)
        return yaml.load(text, Loader=LOADER)  # noqa: S506 - a safe loader
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UnusableWheelError(f"its manifest can't be read: {error}") from error


def _validate_manifest(data: Any) -> PluginManifest:
    if not isinstance(data, dict):
        raise UnusableWheelError("its manifest is not a mapping")
    try:
        manifest: PluginManifest = PluginManifest.model_validate(data)
        return manifest
    except (ValidationError, TypeError, ValueError) as error:
        raise UnusableWheelError(f"its manifest is not valid for npe2: {str(error).splitlines()[0]}") from error


def _package_metadata(metadata: Any) -> PackageMetadata | None:
    try:
        return PackageMetadata.from_dist_metadata(metadata)
    except ValidationError:
        return None


if __name__ == "__main__":
    main()
