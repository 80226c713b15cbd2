"""The Qt windows. They draw snapshots, and touch neither files nor the network."""
