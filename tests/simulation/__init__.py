"""A simulated year of the service: real clients, a real server, and a model to compare them with."""
