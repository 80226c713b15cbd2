"""Start-up script for napari: checks for updates, and shows where telemetry stands. ``napari-updates startup`` explains it."""

from napari_telemetry.plugin.starting import attach_at_start

attach_at_start()
