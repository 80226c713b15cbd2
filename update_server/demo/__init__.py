"""Sample data for a demo: two years of fictional people, sent through the real intake and publication rule."""
