"""Made-up numbers to look at: two years of people who never were, sent through the real intake and counted by the real rule."""
