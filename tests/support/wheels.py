"""Minimal wheels, and environments into which the real pip and uv install them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

from napari_update_hook.environment import Environment, installed
from napari_update_hook.installers import InstallEnvironment
from packaging.utils import parse_sdist_filename, parse_wheel_filename


def make_wheel(folder: Path, name: str, version: str, requires: Iterable[str] = (), *, is_plugin: bool = True) -> Path:
    """Write a wheel with one empty module."""
    stem, info = f"{name.replace('-', '_')}-{version}", f"{name.replace('-', '_')}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name.replace('-', '_')}.py": "",
        f"{info}/METADATA": head + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if is_plugin:
        files[f"{info}/entry_points.txt"] = f"[napari.manifest]\n{name} = {name.replace('-', '_')}:napari.yaml\n"
    record = "".join(
        f"{path},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    wheel = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
    return wheel


class WheelIndex:
    """A package index (PEP 503) that serves a folder. ``asked``: the normalized names that were requested.

    ``allow_downloads``: an event; downloads wait until it is set. ``is_waiting``: whether a download is waiting.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.allow_downloads = threading.Event()
        self.allow_downloads.set()
        self.is_waiting = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = unquote(self.path).strip("/").split("/")
                if parts[0] == "files" and (folder / parts[1]).is_file():
                    outer.is_waiting = not outer.allow_downloads.is_set()
                    outer.allow_downloads.wait(60)
                    self._answer(200, (folder / parts[1]).read_bytes(), "application/octet-stream")
                    return
                outer.asked.append(parts[-1])
                files = [path.name for path in folder.iterdir() if _project_of(path.name) == parts[-1]]
                links = "".join(f'<a href="/files/{name}">{name}</a>' for name in files)
                self._answer(200 if files else 404, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _project_of(name: str) -> str:
    parse = parse_wheel_filename if name.endswith(".whl") else parse_sdist_filename
    return str(parse(name)[0])


class ToolEnvironment:
    """A virtual environment that installs only from one package index."""

    def __init__(self, folder: Path, index: str, tool: str, template: Path | None = None) -> None:
        """``template``: an environment to copy, which is faster."""
        self.folder, self.tool = folder, tool
        if template is not None:
            shutil.copytree(template, folder, symlinks=True)
        else:
            options = [] if tool == "pip" else ["--without-pip"]
            subprocess.run([sys.executable, "-m", "venv", *options, str(folder)], check=True)
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))} | {
            "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
            "UV_DEFAULT_INDEX": index, "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0",
        }  # fmt: skip
        self.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), self.environ["PATH"]))

    def install(self, *requirements: str) -> None:
        pip = [str(self.python), "-m", "pip", "install", "-q"]
        uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(self.python)]
        subprocess.run([*(pip if self.tool == "pip" else uv), *requirements], env=self.environ, check=True)

    def read(self, prefix: Path | None = None) -> Environment:
        (site,) = self.folder.glob("Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages")
        found = installed(metadata.distributions(path=[str(site)]))
        return Environment("{}.{}.{}".format(*sys.version_info[:3]), "pypi", found)

    @property
    def versions(self) -> dict[str, str]:
        """Return installed versions, without pip and setuptools."""
        return {name: one.version for name, one in self.read().distributions.items() if name not in ("pip", "setuptools")}

    @property
    def install_environment(self) -> InstallEnvironment:
        markers = frozenset({"pip"}) if self.tool == "pip" else frozenset({"uv"})
        return InstallEnvironment(self.folder, self.python, sys.platform == "win32", markers=markers)

    def freeze(self) -> str:
        command = [sys.executable, "-m", "uv", "pip", "freeze", "--python", str(self.python)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=self.environ).stdout
