"""Kinds of layers with the real libraries, without computing anything."""

from __future__ import annotations

from typing import Any

import pytest
from napari_telemetry.layers import LayerKind, class_name, dtype_name, layer_kind

np = pytest.importorskip("numpy", reason="needs numpy: pip install numpy")


class Lazy:
    """Knows shape and dtype; anything else fails."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the values were asked for")

    def __getitem__(self, _: Any) -> Any:
        raise AssertionError("the values were asked for")

    def __len__(self) -> int:
        return self.shape[0]


def test_numpy_arrays_are_described() -> None:
    kind = layer_kind("image", np.zeros((10, 512, 512), "uint8"))
    assert kind == LayerKind("image", "MEDIUM", 3, "ndarray", "uint8")
    assert layer_kind("labels", np.zeros((4, 4), ">i2")) == LayerKind("labels", "SMALL", 2, "ndarray", "int16")
    assert layer_kind("Image", np.zeros((), bool)) == LayerKind("image", "SMALL", 0, "ndarray", "bool")


def test_dask_is_not_computed() -> None:
    da = pytest.importorskip("dask.array", reason="needs dask: pip install 'dask[array]'")

    def never(*_: Any) -> Any:
        raise AssertionError("dask was computed")

    data = da.map_blocks(never, dtype="uint16", chunks=((1000,) * 10, (1000,) * 10), meta=np.empty((0, 0), "uint16"))
    assert layer_kind("image", data) == LayerKind("image", "LARGE", 2, "dask.Array", "uint16")


def test_dask_with_unknown_chunks_is_not_counted() -> None:
    da = pytest.importorskip("dask.array", reason="needs dask: pip install 'dask[array]'")
    data = da.ones(10, chunks=5)
    assert layer_kind("image", data[data > 0]) is None


def test_zarr_is_not_read(tmp_path: Any) -> None:
    zarr = pytest.importorskip("zarr", reason="needs zarr: pip install zarr")
    data = zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(100, 2000, 2000), chunks=(1, 2000, 2000), dtype="float32")
    assert layer_kind("image", data) == LayerKind("image", "LARGE", 3, "zarr.Array", "float32")


def test_tensorstore_arrays_are_described(tmp_path: Any) -> None:
    ts = pytest.importorskip("tensorstore", reason="needs tensorstore: pip install tensorstore")
    store = {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path)}}
    metadata = {"dimensions": [30000, 30000], "blockSize": [100, 100], "dataType": "uint16", "compression": {"type": "raw"}}
    data = ts.open(store | {"metadata": metadata}, create=True).result()
    assert layer_kind("image", data) == LayerKind("image", "LARGE", 2, "TensorStore", "uint16")


def test_multiscale_data_is_described_by_its_largest_scale() -> None:
    scales = [Lazy((30000, 30000), "uint16"), Lazy((15000, 15000), "uint16")]
    assert layer_kind("image", scales) == LayerKind("image", "LARGE", 2, "list", "uint16")
    multiscale = type("MultiScaleData", (list,), {"__module__": "napari.layers._multiscale_data"})
    assert layer_kind("labels", multiscale(scales)) == LayerKind("labels", "LARGE", 2, "MultiScaleData", "uint16")


@pytest.mark.parametrize(
    ("count", "size"), [(0, "SMALL"), (999, "SMALL"), (1000, "MEDIUM"), (10**5, "LARGE"), (10**7, "VERY_LARGE")]
)
def test_points_are_counted_not_measured(count: int, size: Any) -> None:
    assert layer_kind("points", Lazy((count, 3), "float64")) == LayerKind("points", size, 3, "other", "float64")


def test_shapes_are_a_list_of_arrays() -> None:
    assert layer_kind("shapes", [np.zeros((4, 2))] * 3) == LayerKind("shapes", "SMALL", 2, "list", "float64")
    assert layer_kind("shapes", []) == LayerKind("shapes", "SMALL", 0, "list", "other")


def test_tracks_vectors_and_surfaces_are_described() -> None:
    assert layer_kind("tracks", np.zeros((2000, 4))) == LayerKind("tracks", "MEDIUM", 3, "ndarray", "float64")
    assert layer_kind("vectors", np.zeros((10, 2, 3), "float32")) == LayerKind("vectors", "SMALL", 3, "ndarray", "float32")
    surface = (np.zeros((100_000, 3)), np.zeros((10, 3), int), np.zeros(100_000))
    assert layer_kind("surface", surface) == LayerKind("surface", "MEDIUM", 3, "tuple", "float64")


@pytest.mark.parametrize(
    ("shape", "size"),
    [((999_999,), "SMALL"), ((10**6,), "MEDIUM"), ((10**8,), "LARGE"), ((10**10,), "VERY_LARGE"), ((10**6,) * 4, "VERY_LARGE")],
)
def test_sizes_are_reported_as_categories(shape: tuple[int, ...], size: str) -> None:
    kind = layer_kind("image", Lazy(shape, "uint8"))
    assert kind is not None
    assert kind.size_category == size


def test_a_private_class_is_reported_as_other() -> None:
    fake = type("ndarray", (), {"__module__": "my_secret_project"})
    assert class_name(fake()) == "other"
    assert class_name(Lazy((1,), "uint8")) == "other"


def test_dtypes_of_other_libraries_get_short_names() -> None:
    torch_dtype = type("dtype", (), {"__str__": lambda _: "torch.float32"})()
    assert dtype_name(torch_dtype) == "float32"
