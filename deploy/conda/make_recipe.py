"""Write the client's conda-forge recipe from a source distribution.

    python deploy/conda/make_recipe.py dist/napari_update_hook-0.1.0.tar.gz > recipe.yaml

The recipe has rattler-build's format ("v1"). Dependencies, minimum Python version and commands come from pyproject.toml.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import parse_sdist_filename

CLIENT = Path(__file__).parents[2] / "client_hook" / "napari-update-hook"
EXTRAS = {("httpx", "socks"): "socksio 1.*"}
"""Packages on conda-forge that replace extras of dependencies."""
MAINTAINERS = ["fill-in-your-github-name"]


def recipe(sdist: Path) -> dict[str, Any]:
    """Return the recipe of a source distribution. Raises OSError, or ValueError for any other file."""
    name, version = parse_sdist_filename(sdist.name)
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text("utf-8"))
    about, build = project["project"], project["build-system"]["requires"]
    commands = [f"{command} = {target}" for command, target in about["scripts"].items()]
    return {
        "schema_version": 1,
        "context": {"version": str(version), "python_min": _least(about["requires-python"])},
        "package": {"name": str(name), "version": "${{ version }}"},
        "source": {
            "url": f"https://pypi.org/packages/source/{name[0]}/{name}/{sdist.name.replace(str(version), '${{ version }}')}",
            "sha256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
        },
        "build": {
            "number": 0,
            "noarch": "python",
            "script": "${{ PYTHON }} -m pip install . -vv --no-deps --no-build-isolation",
            "python": {"entry_points": commands},
        },
        "requirements": {
            "host": ["python ${{ python_min }}.*", "pip", *(_conda(text) for text in build)],
            "run": ["python >=${{ python_min }}", *_all_conda(about["dependencies"])],
        },
        "tests": [
            {
                "python": {
                    "imports": ["napari_update_hook", "napari_update_hook.cli"],
                    "pip_check": True,
                    "python_version": ["${{ python_min }}.*", "*"],
                }
            },
            {
                "script": [f"{command} --help" for command in about["scripts"] if command != "napari-hooked"],
                "requirements": {"run": ["python ${{ python_min }}.*"]},
            },
        ],
        "about": {
            **({"homepage": homepage} if (homepage := about.get("urls", {}).get("Homepage")) else {}),
            "summary": about["description"],
            "license": about["license"],
            "license_file": "LICENSE",
        },
        "extra": {"recipe-maintainers": MAINTAINERS},
    }


def _least(specifiers: str) -> str:
    return specifiers.removeprefix(">=")


def _conda(text: str) -> str:
    wanted = Requirement(text)
    return f"{wanted.name} {wanted.specifier}".strip()


def _all_conda(dependencies: list[str]) -> list[str]:
    wanted = [Requirement(text) for text in dependencies]
    extras = [EXTRAS[one.name, extra] for one in wanted for extra in sorted(one.extras)]
    return sorted([*map(_conda, dependencies), *extras])


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    yaml.safe_dump(recipe(Path(sys.argv[1])), sys.stdout, sort_keys=False, width=120)


if __name__ == "__main__":
    main()
