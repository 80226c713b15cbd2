"""From raw reports to public weekly numbers: the catalogue, the publication rule, the stores, the jobs."""

__version__ = "0.2.0"
