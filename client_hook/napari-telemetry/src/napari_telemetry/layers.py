"""Kinds of layers, read from class, ``shape`` and ``dtype`` only. Pure.

dask, zarr, xarray and tensorstore know these without computing. Some classes lack ``nbytes``, or compute it.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from napari_telemetry.wire import SizeCategory

LAYERS_COUNTED_IN_ITEMS = frozenset({"points", "shapes", "tracks", "vectors"})
"""Sized by number of items; others in bytes."""

_BYTES = ((10**6, "SMALL"), (10**8, "MEDIUM"), (10**10, "LARGE"))
_ITEMS = ((10**3, "SMALL"), (10**5, "MEDIUM"), (10**7, "LARGE"))
_CLASSES = {
    ("numpy", "ndarray"): "ndarray", ("numpy", "memmap"): "memmap", ("dask", "Array"): "dask.Array",
    ("zarr", "Array"): "zarr.Array", ("xarray", "DataArray"): "DataArray",
    ("tensorstore", "TensorStore"): "TensorStore", ("torch", "Tensor"): "Tensor",
    ("cupy", "ndarray"): "cupy.ndarray", ("jaxlib", "ArrayImpl"): "jax.Array", ("jax", "ArrayImpl"): "jax.Array",
    ("napari", "MultiScaleData"): "MultiScaleData", ("builtins", "list"): "list", ("builtins", "tuple"): "tuple",
    ("pandas", "DataFrame"): "DataFrame",
}  # fmt: skip
"""Everything else is ``other``."""
_MULTISCALE = frozenset({"list", "tuple", "MultiScaleData"})
_OTHER = "other"


class LayerKind(Struct, frozen=True, order=True):
    layer: str
    size_category: SizeCategory
    ndim: int
    class_: str
    dtype: str


def layer_kind(layer_type: str, data: Any) -> LayerKind | None:
    """Return None for an unknown size (a dask array with unknown chunks). Errors of ``data``'s attributes propagate.

    ``ndim``: of the data for images and labels, including colours but not scales; of the space for others.
    """
    layer = layer_type.lower()
    name = class_name(data)
    if layer in LAYERS_COUNTED_IN_ITEMS:
        return _items(layer, name, data)
    if layer == "surface":
        return _surface(name, data)
    array = data[0] if name in _MULTISCALE else data
    shape = array.shape
    size = math.prod(shape) * _item_bytes(array.dtype)
    return _kind(layer, size, _BYTES, len(shape), name, dtype_name(array.dtype))


def class_name(value: object) -> str:
    kind = type(value)
    return _CLASSES.get((kind.__module__.partition(".")[0], kind.__name__), _OTHER)


def dtype_name(dtype: Any) -> str:
    """Without byte order: ``uint16`` for numpy's ``>u2``, ``float32`` for ``torch.float32``."""
    name = getattr(dtype, "name", None)
    return name if isinstance(name, str) else str(dtype).rpartition(".")[2]


def _items(layer: str, name: str, data: Any) -> LayerKind | None:
    first = data
    if name in _MULTISCALE:  # shapes: a list with an array each
        if not data:
            return _kind(layer, 0, _ITEMS, 0, name, _OTHER)
        first = data[0]
    space = int(first.shape[-1]) - (layer == "tracks")  # the first column of tracks is an id
    return _kind(layer, len(data), _ITEMS, space, name, dtype_name(first.dtype))


def _surface(name: str, data: Any) -> LayerKind | None:
    vertices = data[0]
    size = sum(math.prod(array.shape) * _item_bytes(array.dtype) for array in data)
    return _kind("surface", size, _BYTES, int(vertices.shape[-1]), name, dtype_name(vertices.dtype))


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
