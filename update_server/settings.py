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
DEMO_MARK = "made-up-numbers"
"""File in the data folder that marks a demo."""

BaseUrl = Annotated[str, AfterValidator(lambda text: base_url(text) if text else "")]


class Upstreams:
    def __init__(self, base: str = "") -> None:
        """``base``: one URL in place of all; empty for the public ones."""
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
    """Settings of the service. The prefix of the variables is ``UPDATE_SERVER_``."""

    model_config = SettingsConfigDict(env_prefix="UPDATE_SERVER_", extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    data: Path = Field(Path("data"), description="Folder for the index snapshot and the SQLite stores; created if missing")
    upstream: BaseUrl = Field(
        "", description="One base URL from which every upstream service is read. Default: the public plugin index and PyPI"
    )
    source: Literal["napari-index", "pypi"] = Field(
        "napari-index",
        description="Where the index comes from. napari-index: an existing plugin index, and PyPI for releases. "
        "pypi: only PyPI and conda-forge",
    )
    seed: Path | None = Field(
        None, description="Seed index to serve before the first refresh. Default: the one that is shipped"
    )
    notices: Path | None = Field(
        None,
        description="YAML file of notices about releases and plugins, for the update tables (docs/tutorials/maintainers.md)",
    )
    refresh_interval_s: int = Field(7200, ge=60, le=7 * 86400, description="Seconds between two refreshes of the index")
    refresh_retry_s: int = Field(60, ge=1, le=7200, description="Seconds after a refresh that failed until the next")
    refresh_timeout_s: int = Field(1200, ge=5, le=6 * 3600, description="Seconds after which a refresh is given up")
    downloads: bool = Field(
        True, description="Read downloads by Python version from pypistats.org once a day, for plugin pages"
    )
    check_again_s: int = Field(86400, ge=3600, le=7 * 86400, description="Seconds until clients ask for updates again")
    versions_from_user_agent: bool = Field(
        True,
        description="Answer an unmodified napari with what fits the versions in its User-Agent",
    )
    jobs: bool = Field(
        True, description="Run the scheduled jobs in this process. Set to false where `update-server scheduler` runs"
    )
    levels: Annotated[tuple[Level, ...], NoDecode] = Field(
        TELEMETRY_LEVELS, description="Accepted telemetry levels, comma-separated; the others get 410"
    )
    level_hosts: dict[Level, str] = Field(
        default_factory=dict,
        description='Host name of each level, as JSON: {"basic": "basic.updates.example.org"}; what comes to another host is '
        "refused. Default: the host of the site",
    )
    reports_per_minute: int = Field(
        120, ge=0, le=1_000_000, description="Reports that one address may send in a minute; 0: any number"
    )
    reports_per_day: int = Field(
        2000, ge=0, le=10_000_000, description="Reports that one address may send in a day; 0: any number"
    )
    questions_per_minute: int = Field(
        60, ge=0, le=1_000_000, description="Times that one address may find or delete reports in a minute; 0: any number"
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        LOOPBACK,
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, comma-separated",
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port for Prometheus metrics, which must not be public. Default: no metrics"
    )
    metrics_host: str = Field("127.0.0.1", description="Address to serve metrics on")
    access_log: bool = Field(
        False,
        description="Log method, endpoint, status and time of each request except index files",
    )
    contact: str = Field("", description="Address of the operator, for the privacy page")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="How log lines look. auto: text on a terminal, JSON elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important lines to log")
    now: datetime | None = Field(
        None, description="Instant from which time goes on, for tests and rehearsals; refused unless on loopback"
    )
    aggregation: AggregationSettings = Field(
        default_factory=AggregationSettings, description="Where the stores are (AGGREGATION_…)"
    )

    @property
    def is_demo(self) -> bool:
        return (self.data / DEMO_MARK).exists()

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
            raise ValueError(f"UPDATE_SERVER_NOW moves the clock, which is refused on {self.host}: listen on 127.0.0.1")
        if Level.NONE in self.levels:
            raise ValueError("UPDATE_SERVER_LEVELS names telemetry levels: basic, middle, full")
        if self.aggregation.data != self.data:
            self.aggregation = self.aggregation.model_copy(update={"data": self.data})
        return self

    @property
    def upstreams(self) -> Upstreams:
        return Upstreams(self.upstream)

    @property
    def snapshot_path(self) -> Path:
        return self.data / "index.snapshot"
