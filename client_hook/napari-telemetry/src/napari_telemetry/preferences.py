"""Read the maximum level from napari's Preferences (0.9). Only napari writes it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from napari_telemetry.settings import Maximum
from napari_telemetry.wire import Level

FILE = "napari-telemetry.yaml"
SECTION, KEY, NO_LIMIT = "sharing", "maximum_level", "no limit"


def maximum_level() -> Maximum:
    """Return the maximum level, which is none while the file is unreadable."""
    unreadable = Maximum(Level.NONE)
    folder = settings_folder()
    try:
        text = (folder / FILE).read_text("utf-8") if folder is not None else ""
    except (FileNotFoundError, NotADirectoryError):
        return Maximum()
    except (OSError, UnicodeError):
        return unreadable
    if not text.strip():
        return Maximum()
    import yaml  # a dependency of napari

    try:
        chosen = (yaml.safe_load(text).get(SECTION) or {}).get(KEY, NO_LIMIT)
        return Maximum() if chosen == NO_LIMIT else Maximum(Level(chosen), is_chosen=True)
    except (yaml.YAMLError, ValueError, AttributeError):
        return unreadable


def settings_folder() -> Path | None:
    """Return napari's settings folder, or None before napari 0.9, which has no plugin settings.

    Loads only one module of napari, because importing all of it takes seconds.
    """
    if chosen := os.environ.get("NAPARI_CONFIG"):
        return Path(chosen).parent
    name = "napari.utils._platformdirs"
    module = sys.modules.get(name)
    if module is None:
        napari = find_spec("napari")
        path = Path(napari.origin).parent / "utils" / "_platformdirs.py" if napari is not None and napari.origin else None
        spec = spec_from_file_location("_napari_platformdirs", path) if path is not None and path.exists() else None
        if spec is None or spec.loader is None:
            return None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    return Path(module.user_config_dir())
