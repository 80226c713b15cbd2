"""A year of the service, simulated: real client code, a real server process, and a model that says what must come of it."""
