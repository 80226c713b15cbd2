"""The two stores: raw reports, kept for 60 days, and public numbers, kept permanently."""
