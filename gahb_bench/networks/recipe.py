"""The recipe in the header of a file of weights, and the weights that are shipped; needs no torch."""

import json
import struct
from pathlib import Path
from typing import Any

from gahb_bench.core.errors import UsageError, printable

KEY = "gahb_bench"  # under which the header's metadata holds the recipe
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_SHIPPED = Path(__file__).parent / "pretrained"


def shipped() -> dict[str, Path]:
    """The trained weights that come with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.safetensors"))}


def locate(weights: str) -> Path:
    """The file that is meant: a path, or the name of shipped weights.

    Raises
    ------
    UsageError
        If there is none; the message lists what is shipped.
    """
    known = shipped()
    path = known.get(weights, Path(weights))
    if not weights or not path.is_file():
        raise UsageError(
            f"there are no weights {weights!r}: give the name of shipped weights ({', '.join(known) or 'none'}) or a "
            ".safetensors file that `train` wrote."
        )
    return path.absolute()


def shipped_for(family: str) -> list[str]:
    """Names of the shipped weights that were trained on a family, given by its canonical spec."""
    return [name for name, path in shipped().items() if read_recipe(path)["family"] == family]


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe in the header of a file of weights; the tensors are not read.

    Raises
    ------
    UsageError
        If the file cannot be read, is not safetensors, or holds no recipe of ours.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("its header would be too long")
            header = json.loads(file.read(length))
        recipe = json.loads(header["__metadata__"][KEY])
        if not isinstance(recipe, dict):
            raise ValueError("its recipe is not a JSON object")
        return recipe
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise UsageError(
            f"{path} is no file of weights that `train` writes (safetensors with a recipe): {printable(error)}. Files "
            "of research code are named paper-unet:weights=, paper-bf-cnn:weights= or paper-bias-free:weights=FILE."
        ) from None
