"""Sample data for a demo: two years of reports from fictional people, passed through the real intake and publication."""
