"""The settings of the service, from environment variables; docs/settings.md is generated from them."""

from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aggregation.settings import AggregationSettings, base_url, is_loopback

LOOPBACK = (ip_network("127.0.0.1"), ip_network("::1"))
DEMO_MARKER = "made-up-numbers"
"""Name of the file that marks a data folder as a demo."""

BaseUrl = Annotated[str, AfterValidator(lambda text: base_url(text) if text else "")]


class Upstreams:
    """Base URLs of the upstream services."""

    def __init__(self, base: str = "") -> None:
        """``base``: one URL for all services; empty for the public services."""
        self.index = base or "https://api.napari.org"
        self.pypi = base or "https://pypi.org"
        self.osv = base or "https://api.osv.dev"
        self.conda = base or "https://api.anaconda.org"
        self.files = base or "https://files.pythonhosted.org"
        self.downloads = base or "https://pypistats.org"

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.index, self.pypi, self.osv, self.conda, self.files)))


class Settings(BaseSettings):
    """Settings of the service, from variables with the prefix ``UPDATE_SERVER_``."""

    model_config = SettingsConfigDict(env_prefix="UPDATE_SERVER_", extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    data: Path = Field(Path("data"), description="Folder for the index snapshot and the SQLite stores; created if missing")
    upstream: BaseUrl = Field("", description="Base URL that replaces every upstream service. Default: the public services")
    source: Literal["napari-index", "pypi"] = Field(
        "napari-index",
        description="Source of the index. napari-index: an existing plugin index, and PyPI for releases. "
        "pypi: only PyPI and conda-forge",
    )
    seed: Path | None = Field(None, description="Index to serve before the first refresh. Default: the shipped seed")
    notices: Path | None = Field(
        None,
        description="YAML file of notices about releases and plugins (docs/tutorials/maintainers.md)",
    )
    refresh_interval_s: int = Field(7200, ge=60, le=7 * 86400, description="Seconds between refreshes of the index")
    refresh_retry_s: int = Field(60, ge=1, le=7200, description="Seconds to wait after a failed refresh")
    refresh_timeout_s: int = Field(1200, ge=5, le=6 * 3600, description="Seconds after which a refresh is aborted")
    downloads: bool = Field(True, description="Read downloads by Python version from pypistats.org daily, for plugin pages")
    check_again_s: int = Field(86400, ge=3600, le=7 * 86400, description="Seconds between update checks of a client")
    versions_from_user_agent: bool = Field(
        True,
        description="Offer an unmodified napari only releases compatible with the versions in its User-Agent",
    )
    jobs: bool = Field(
        True, description="Run the scheduled jobs in this process. Set to false if `update-server scheduler` runs them"
    )
    levels: Annotated[tuple[Level, ...], NoDecode] = Field(
        TELEMETRY_LEVELS, description="Accepted telemetry levels, comma-separated; reports of other levels get 410"
    )
    level_hosts: dict[Level, str] = Field(
        default_factory=dict,
        description='Host name of each level, as JSON: {"basic": "basic.updates.example.org"}; requests to other hosts are '
        "rejected. Default: the site's host",
    )
    reports_per_minute: int = Field(
        120, ge=0, le=1_000_000, description="Maximum number of reports per address and minute; 0: no limit"
    )
    reports_per_day: int = Field(
        2000, ge=0, le=10_000_000, description="Maximum number of reports per address and day; 0: no limit"
    )
    questions_per_minute: int = Field(
        60, ge=0, le=1_000_000, description="Maximum number of lookups and deletions per address and minute; 0: no limit"
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        LOOPBACK,
        description="Addresses or networks of proxies whose X-Forwarded-For is trusted, comma-separated",
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port for Prometheus metrics; keep it private. Default: no metrics"
    )
    metrics_host: str = Field("127.0.0.1", description="Address to serve metrics on")
    access_log: bool = Field(
        False,
        description="Log method, endpoint, status and duration of each request, except for index files",
    )
    contact: str = Field("", description="The operator's contact address, shown on the privacy page")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Format of log lines. auto: text on a terminal, JSON elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest severity to log")
    now: datetime | None = Field(
        None, description="Time at which the clock starts, for tests and rehearsals; allowed only on loopback"
    )
    aggregation: AggregationSettings = Field(
        default_factory=AggregationSettings, description="Where the stores are (AGGREGATION_…)"
    )

    @property
    def is_demo(self) -> bool:
        return (self.data / DEMO_MARKER).exists()

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("levels", "trusted_proxies"):
            if isinstance(text := values.get(name), str):
                values[name] = [part.strip() for part in text.split(",") if part.strip()]
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.now is not None and not is_loopback(self.host):
            raise ValueError(f"UPDATE_SERVER_NOW moves the clock, which is refused on {self.host}: use 127.0.0.1")
        if Level.NONE in self.levels:
            raise ValueError("UPDATE_SERVER_LEVELS contains none: choose from basic, middle, full")
        if self.aggregation.data != self.data:
            self.aggregation = self.aggregation.model_copy(update={"data": self.data})
        return self

    @property
    def upstreams(self) -> Upstreams:
        return Upstreams(self.upstream)

    @property
    def snapshot_path(self) -> Path:
        return self.data / "index.snapshot"
