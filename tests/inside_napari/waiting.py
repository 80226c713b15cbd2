"""How long tests in real napari wait."""

PATIENCE_MS = 30_000
"""For what a person sees at once, on a busy machine. `session.READ_ANEW_EVERY_S` is longer: what is seen was noticed."""
