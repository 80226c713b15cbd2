"""The command ``python -m aggregation``.

Exit codes: 0 done; 1 not done, because a store, a file or a process failed, or a certificate is not valid; 2 asked for
something that does not exist, can't be, or is not due: then nothing was written.
"""

import logging

import structlog
import typer

from aggregation.cli import certifying, numbers, publishing, raw_reports

app = typer.Typer(
    help="Turn raw reports into public weekly numbers, show and export them, and certify them. "
    "AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL say where the stores are; "
    "`update-server settings` lists all settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
publishing.add_to(app)
numbers.add_to(app)
raw_reports.add_to(app)
certifying.add_to(app)


def main() -> None:
    """Run the command."""
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # of connections that Ctrl+C cuts, it would tell
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app()
