"""The command line: ``python -m napari_release_check dist/*``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from napari_release_check import __version__
from napari_release_check.checks import Report, check
from napari_release_check.files import UnreadableFileError, read
from napari_release_check.public import PublicData, Services, look_up


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    paths = [path for path in options.files if path.name.endswith((".whl", ".tar.gz"))]
    if not paths:
        print("No wheel (.whl) or source distribution (.tar.gz) was given. Build first: python -m build", file=sys.stderr)
        return 2
    try:
        files = [read(path) for path in paths]
    except UnreadableFileError as error:
        print(error, file=sys.stderr)
        return 2
    every = options.upstream.rstrip("/")
    numbers = options.server.rstrip("/")
    services = Services(every, every, every, numbers) if every else Services(numbers=numbers)
    if not options.json and not options.offline:
        print(f"Comparing {files[0].name} {files[0].version} with public releases …", file=sys.stderr)
    public = PublicData(unknown=("--offline was given.",)) if options.offline else look_up(files[0].name, services)
    report = check(files, public, datetime.now(timezone.utc).date())
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    if options.github and not options.json:
        for finding in report.findings:
            print(f"::{finding.level} title=napari release check::{_escaped(finding.text)}")
    is_bad = report.has_errors or (options.strict and any(finding.level == "warning" for finding in report.findings))
    return 1 if is_bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-release-check",
        description="Check a release of a napari plugin before it is published: who can install it, and who no longer can. "
        "Reads metadata only and runs nothing.",
        epilog="Exit codes: 0 no errors; 1 errors, or warnings with --strict; 2 a file cannot be read.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="wheels and source distributions, such as dist/*")
    parser.add_argument("--server", default="", help="a napari update service, for the number of people by Python version")
    parser.add_argument("--strict", action="store_true", help="also exit with 1 for warnings")
    parser.add_argument("--offline", action="store_true", help="do not compare with public releases")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--github", action="store_true", default=os.environ.get("GITHUB_ACTIONS") == "true",
        help="print annotations. Default: on in GitHub Actions",
    )  # fmt: skip
    parser.add_argument("--upstream", default="", help="one base URL instead of PyPI, napari's index and pypistats.org")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _print(report: Report) -> None:
    print(f"{report.name} {report.version}" + (f", compared with {report.compared_with}" if report.compared_with else ""))
    print(f"  Python: {', '.join(report.pythons) or 'none'}")
    print(f"  napari: {report.napari}")
    for finding in report.findings:
        print(f"  {finding.level}: {finding.text}")
    if not report.findings:
        print("  No problems found.")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def run() -> None:
    sys.exit(main())


if __name__ == "__main__":
    run()
