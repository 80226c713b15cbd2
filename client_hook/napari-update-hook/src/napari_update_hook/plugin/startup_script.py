"""Start-up script for napari: checks for updates of plugins. ``napari-updates startup`` explains it."""

from napari_update_hook.plugin.starting import attach_at_start

attach_at_start()
