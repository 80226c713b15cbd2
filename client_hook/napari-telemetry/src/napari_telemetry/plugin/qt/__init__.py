"""What is drawn. Widgets draw snapshots and pass on what a person does; none touches a file or the network."""
