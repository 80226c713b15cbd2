"""Objects shared by all handlers, created and closed by the application."""

from packaging.utils import canonicalize_name

from aggregation.cli.options import did_you_mean
from aggregation.clock import Clock
from aggregation.settings import Role, Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import open_raw_store
from update_server.caching import AnswerCache
from update_server.index.store import IndexStore, LoadedIndex
from update_server.intake.allowed import AllowLists
from update_server.intake.limiting import AddressLimits
from update_server.intake.writer import ReportWriter
from update_server.operations.metrics import Metrics
from update_server.problems import Problem
from update_server.settings import Settings

RETRY_AFTER_S = 60
MAX_NAME_LENGTH = 214
"""Maximum length of a package name in the index."""


class Services:
    """Stores, index, caches and limits of one process. ``role``: decides which database rights it uses."""

    def __init__(self, settings: Settings, role: Role = Role.WEB) -> None:
        self.settings = settings
        self.clock = Clock(settings.now)
        raw_url = settings.aggregation.url(Store.RAW, role)
        takes_reports = raw_url is not None and bool(settings.levels)
        self.index = IndexStore(
            settings.snapshot_path, settings.seed, settings.check_again_s, takes_reports=takes_reports, notices=settings.notices
        )
        aggregate_url = settings.aggregation.url(Store.AGGREGATE, role)
        if aggregate_url is None:
            raise ValueError("AGGREGATION_AGGREGATE_URL must be set: this store holds the statistics and the job runs")
        self.raw = open_raw_store(raw_url) if raw_url else None
        self.aggregate = AggregateStore(make_engine(aggregate_url))
        self.cache = AnswerCache(self.index, self.aggregate.revision)
        # Separate, so that building many pages doesn't delay the API.
        self.page_cache = AnswerCache(self.index, self.aggregate.revision)
        self.writer = ReportWriter(self.raw) if self.raw else None
        self.metrics = Metrics(self.index, self.clock, lambda: self.writer.waiting if self.writer else 0)
        self.report_limits = AddressLimits("reports", settings.reports_per_minute, settings.reports_per_day, self.clock)
        self.question_limits = AddressLimits("questions", settings.questions_per_minute, 0, self.clock)
        self.is_prepared = False
        """Whether all responses are compressed."""
        self._allowed: tuple[LoadedIndex, AllowLists] | None = None

    async def close(self) -> None:
        if self.raw:
            await self.raw.close()
        await self.aggregate.engine.dispose()

    def loaded(self) -> LoadedIndex:
        """Return the index. Raises Problem 503 if there is none yet."""
        if self.index.loaded is None:
            raise Problem(
                503, self.index.error or "The index is being built. Try again in a minute.", retry_after=RETRY_AFTER_S
            )
        return self.index.loaded

    def allowed(self) -> AllowLists:
        """Return the allow-lists of the index. Raises Problem 503 if there is no index yet."""
        loaded = self.loaded()
        if self._allowed is None or self._allowed[0] is not loaded:
            self._allowed = (loaded, AllowLists(loaded.index.facts))
        return self._allowed[1]

    def package_key(self, name: str) -> str:
        """Return the normalized name of a package. Raises Problem 404, which suggests similar names."""
        key = canonicalize_name(name[:MAX_NAME_LENGTH])
        packages = self.loaded().packages
        if key not in packages:
            raise Problem(404, f"No package {name[:64]!r} is in the index.{did_you_mean(key, packages)}", pointer="name")
        return key
