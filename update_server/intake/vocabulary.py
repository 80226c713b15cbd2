"""Public allow-lists of strings in reports. Clients and the server apply them; any other string becomes ``other``."""

from importlib.resources import files

OTHER = "other"
DEVELOPMENT = "development"

PYTHON_VERSIONS = tuple(f"3.{minor}" for minor in range(8, 21))
PLATFORMS = ("linux", "darwin", "win32")
CPU_ARCHITECTURES = ("x86_64", "arm64", "i686", "ppc64le", "riscv64")
SYS_NAMES = (
    *(f"Windows {release}" for release in ("10", "11", "Server 2019", "Server 2022", "Server 2025")),
    *(f"macOS {release}" for release in range(11, 28)),
    *(f"Ubuntu {year}.{month:02}" for year in range(18, 28) for month in (4, 10)),
    *(f"Debian {release}" for release in range(10, 15)),
    *(f"Fedora {release}" for release in range(34, 48)),
    *(f"RHEL {release}" for release in range(7, 11)),
    *(f"CentOS {release}" for release in range(7, 11)),
    *(f"Rocky Linux {release}" for release in range(8, 11)),
    *(f"AlmaLinux {release}" for release in range(8, 11)),
    *(f"openSUSE Leap 15.{release}" for release in range(7)),
    *(f"Linux Mint {release}" for release in range(20, 24)),
    *(f"Pop!_OS {release}" for release in ("20.04", "22.04", "24.04")),
    "Arch Linux",
    "Manjaro Linux",
    "NixOS",
    "openSUSE Tumbleweed",
)
LAYERS = ("image", "labels", "points", "shapes", "surface", "tracks", "vectors", "graph")
CLASSES = (
    "ndarray", "memmap", "Array", "dask.Array", "zarr.Array", "DataArray", "TensorStore", "Tensor", "cupy.ndarray", "jax.Array",
    "MultiScaleData", "list", "tuple", "DataFrame",
)  # fmt: skip
DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
    "complex64",
    "complex128",
    "object",
)


def napari_commands() -> tuple[str, ...]:
    """Return the ids of napari's own commands."""
    text = (files("update_server.intake") / "napari_commands.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
