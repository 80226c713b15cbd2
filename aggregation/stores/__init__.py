"""The two stores: raw reports, kept for at most 60 days, and public numbers, kept for ever."""
