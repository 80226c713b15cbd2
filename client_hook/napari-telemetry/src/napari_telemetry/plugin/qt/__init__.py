"""Windows of Qt: they draw the session's snapshot, and touch neither files nor the network."""
