"""Determine the kind of a layer from its class, ``shape`` and ``dtype``. Pure functions.

dask, zarr, xarray and tensorstore know these without computing. Some classes lack ``nbytes``; others compute it.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from napari_telemetry.wire import SizeCategory

LAYERS_COUNTED_IN_ITEMS = frozenset({"points", "shapes", "tracks", "vectors"})
"""Layer types whose size is the number of items; for others it is in bytes."""

_BYTE_LIMITS = ((10**6, "SMALL"), (10**8, "MEDIUM"), (10**10, "LARGE"))
_ITEM_LIMITS = ((10**3, "SMALL"), (10**5, "MEDIUM"), (10**7, "LARGE"))
_CLASSES = {
    ("numpy", "ndarray"): "ndarray", ("numpy", "memmap"): "memmap", ("dask", "Array"): "dask.Array",
    ("zarr", "Array"): "zarr.Array", ("xarray", "DataArray"): "DataArray",
    ("tensorstore", "TensorStore"): "TensorStore", ("torch", "Tensor"): "Tensor",
    ("cupy", "ndarray"): "cupy.ndarray", ("jaxlib", "ArrayImpl"): "jax.Array", ("jax", "ArrayImpl"): "jax.Array",
    ("napari", "MultiScaleData"): "MultiScaleData", ("builtins", "list"): "list", ("builtins", "tuple"): "tuple",
    ("pandas", "DataFrame"): "DataFrame",
}  # fmt: skip
"""Names by package and class; any other class is ``other``."""
_MULTISCALE = frozenset({"list", "tuple", "MultiScaleData"})
_OTHER = "other"


class LayerKind(Struct, frozen=True, order=True):
    """What a report says about a layer."""

    """What a report says about a layer."""

    layer: str
    size_category: SizeCategory
    ndim: int
    class_: str
    dtype: str


def layer_kind(layer_type: str, data: Any) -> LayerKind | None:
    """Return the kind of a layer, or None if its size is unknown, as for a dask array with unknown chunks.

    Errors of ``data``'s attributes propagate. ``ndim`` counts the dimensions of the data for images and labels, with color
    channels but without multiscale levels; otherwise those of the space.
    """
    layer = layer_type.lower()
    name = class_name(data)
    if layer in LAYERS_COUNTED_IN_ITEMS:
        return _kind_of_items(layer, name, data)
    if layer == "surface":
        return _kind_of_surface(name, data)
    array = data[0] if name in _MULTISCALE else data
    shape = array.shape
    size = math.prod(shape) * _item_bytes(array.dtype)
    return _kind(layer, size, _BYTE_LIMITS, len(shape), name, dtype_name(array.dtype))


def class_name(value: object) -> str:
    kind = type(value)
    return _CLASSES.get((kind.__module__.partition(".")[0], kind.__name__), _OTHER)


def dtype_name(dtype: Any) -> str:
    """Return the name without byte order: ``uint16`` for numpy's ``>u2``, ``float32`` for ``torch.float32``."""
    name = getattr(dtype, "name", None)
    return name if isinstance(name, str) else str(dtype).rpartition(".")[2]


def _kind_of_items(layer: str, name: str, data: Any) -> LayerKind | None:
    first = data
    if name in _MULTISCALE:  # shapes: a list of arrays
        if not data:
            return _kind(layer, 0, _ITEM_LIMITS, 0, name, _OTHER)
        first = data[0]
    space = int(first.shape[-1]) - (layer == "tracks")  # the first column of tracks is an id
    return _kind(layer, len(data), _ITEM_LIMITS, space, name, dtype_name(first.dtype))


def _kind_of_surface(name: str, data: Any) -> LayerKind | None:
    vertices = data[0]
    size = sum(math.prod(array.shape) * _item_bytes(array.dtype) for array in data)
    return _kind("surface", size, _BYTE_LIMITS, int(vertices.shape[-1]), name, dtype_name(vertices.dtype))


def _kind(layer: str, size: float, limits: tuple[tuple[int, str], ...], ndim: int, name: str, dtype: str) -> LayerKind | None:
    if math.isnan(size):
        return None
    category: Any = next((category for limit, category in limits if size < limit), "VERY_LARGE")
    return LayerKind(layer, category, min(max(ndim, 0), 32), name, dtype)


def _item_bytes(dtype: Any) -> int:
    size = getattr(dtype, "itemsize", None)
    if size is None:  # tensorstore
        size = dtype.numpy_dtype.itemsize
    return int(size)
