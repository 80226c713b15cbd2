"""The command ``python -m aggregation``.

Exit codes: 0 done; 1 failed, or a certificate is not valid; 2 the request cannot be carried out, and nothing was written.
"""

import logging

import structlog
import typer

from aggregation.cli import certifying, numbers, publishing, raw_reports

app = typer.Typer(
    help="Turn raw reports into public weekly numbers, export and certify them. "
    "AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL set the stores' locations; "
    "`update-server settings` lists all settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (publishing, numbers, raw_reports, certifying):
    app.add_typer(module.app)


def main() -> None:
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # don't log connections that Ctrl+C interrupts
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app()
