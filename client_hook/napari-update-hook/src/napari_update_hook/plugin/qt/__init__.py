"""The Qt widgets. They draw snapshots and use neither files nor the network."""
