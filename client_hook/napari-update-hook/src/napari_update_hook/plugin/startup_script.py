"""Start-up script for napari that checks for plugin updates. See ``napari-updates startup``."""

from napari_update_hook.plugin.starting import attach_at_start

attach_at_start()
