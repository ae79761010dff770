"""Data sets too large for one file: a folder of shards, each of which depends on its number alone.

    set.json              family, seed, split, images, shard size; written first
    shard-00000.npz       the first images; the arrays of `gahb_bench.sets.export`, and a manifest of its own
    shard-00000.parquet   or so: one row an image, arrays flattened, the manifest in the schema's metadata

A shard that is removed or damaged is made again, byte for byte, by the same command.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gahb_bench import make
from gahb_bench.core import memory, rng
from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.environment import version
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import explain_errors, lock, refuse_overwriting, write_atomically
from gahb_bench.scoring.score import check_images
from gahb_bench.sets.export import arrays_of, manifest_of

Form = Literal["npz", "parquet"]
_KEY = b"gahb_bench"  # of the manifest, in the metadata of a parquet file
_COPIES = 4  # of the arrays of a shard, while it is made and while it is received


@dataclass(frozen=True)
class Exported:
    """What is in the folder: how many shards there should be, how many are whole, and why others could not be made."""

    shards: int
    finished: int
    found: int
    failed: dict[int, str]


@dataclass(frozen=True)
class Shard:
    """Some images of a set: from number ``first`` on, ``count`` of them."""

    law: Family
    number: int
    first: int
    count: int
    seed: int
    split: str
    noise: bool
    sigmas: tuple[float, ...]
    form: Form

    @property
    def name(self) -> str:
        """Of its file."""
        return f"shard-{self.number:05d}.{self.form}"

    @property
    def address(self) -> dict[str, Any]:
        """What its file must say of itself."""
        return {"family": self.law.spec, "seed": self.seed, "split": self.split, "first": self.first} | {
            "images": self.count,
            "noise": self.noise,
            "gahb_bench": version("gahb_bench"),
        }


def export_shards(
    family: str,
    folder: Path,
    *,
    images: int,
    size: int,
    form: str = "npz",
    seed: int = 0,
    split: str = "test",
    noise: bool = False,
    sigmas: Sequence[float] = (),
    crew: Crew | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Exported:
    """Write images of a family as shards of ``size`` images each; those that are there, whole, are not made again.

    Raises
    ------
    UsageError
        For what is not allowed, or shards that do not fit into memory.
    StoreError
        If the folder holds something else or another set, is in use, or cannot be written.
    """
    check_images(images)
    rng.check_seed(seed)
    rng.check_split(split)
    if size < 1:
        raise UsageError(f"--shard-size {size} is not allowed: it is a number of images, >= 1.")
    if form not in get_args(Form):
        raise UsageError(f"--format {form} is not allowed: shards are npz or parquet.")
    if folder.suffix in (".npz", ".parquet"):
        raise UsageError(f"--out {folder} is not allowed: with --shard-size it is a folder, of {form} files.")
    law, crew = make.family(family), crew or Crew()
    at_once = 1 if crew.alone else 2 * crew.workers()
    needed = memory.PROCESS + at_once * _COPIES * (1 + noise) * memory.of_images(min(size, images), law.shape)
    memory.check_fits(needed, f"{at_once} shards of {size} images of {law.spec} at once", "give a smaller --shard-size")
    shards = [
        Shard(law, number, first, min(size, images - first), seed, split, noise, tuple(sigmas), form)  # pyright: ignore[reportArgumentType]
        for number, first in enumerate(range(0, images, size))
    ]
    with lock(folder):
        _begin(folder, law, shards, images, size)
        missing = [shard for shard in shards if not _is_whole(folder / shard.name, shard)]
        found, finished, failed = len(shards) - len(missing), len(shards) - len(missing), dict[int, str]()
        progress(finished, len(shards))
        for shard, result in crew.each(pack, missing):
            if isinstance(result, Lost):
                failed[shard.number] = result.reason
                continue
            with explain_errors(folder):
                write_atomically(folder / shard.name, lambda file, content=result: file.write(content))
            finished += 1
            progress(finished, len(shards))
    return Exported(len(shards), finished, found, failed)


def pack(shard: Shard) -> Iterator[bytes]:
    """The file of a shard."""
    images = range(shard.first, shard.first + shard.count)
    arrays = arrays_of(shard.law, images, shard.seed, shard.split, shard.noise)
    stated = manifest_of(shard.law, shard.seed, shard.split, shard.count, shard.sigmas, arrays)
    manifest = json.dumps(stated | shard.address)
    content = io.BytesIO()
    if shard.form == "npz":
        packed: dict[str, Any] = {**arrays, "manifest": np.array(manifest)}
        np.savez_compressed(content, **packed)
    else:
        table = pa.table({name: _column(values) for name, values in arrays.items()})
        table = table.replace_schema_metadata({_KEY: manifest})
        parquet.write_table(table, content, write_page_checksum=True)
    yield content.getvalue()


def _column(values: np.ndarray) -> pa.Array:
    """A column of one value an image, or of lists of a fixed length."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def _begin(folder: Path, law: Family, shards: list[Shard], images: int, size: int) -> None:
    """Mark the folder as that of a set, before anything else is written.

    Raises
    ------
    StoreError
        If it holds anything else: nothing was changed.
    """
    path = folder / "set.json"
    content = {"gahb_bench": version("gahb_bench"), "family": law.spec, "parameters": law.parameters}
    content |= {"seed": shards[0].seed, "split": shards[0].split, "images": images, "shard_size": size}
    content |= {"noise": shards[0].noise, "sigmas": list(shards[0].sigmas), "format": shards[0].form}
    text = (json.dumps(content, indent=2) + "\n").encode()
    with explain_errors(folder):
        if path.exists():
            if path.read_bytes() != text:
                raise StoreError(
                    f"{folder} holds another set of images, or one that another version made: nothing was changed. "
                    "Give --out another folder, or remove that one."
                )
            return
        refuse_overwriting(folder, [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")][:3])
        write_atomically(path, lambda file: file.write(text))


def _is_whole(path: Path, shard: Shard) -> bool:
    """Whether a file is there, undamaged, and of this shard: its checksums are looked at, all of them."""
    try:
        if shard.form == "npz":
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return False
            with np.load(path, allow_pickle=False) as content:
                manifest = str(content["manifest"])
        else:
            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    file.read_row_group(group)
                manifest = file.schema_arrow.metadata[_KEY].decode()
        stated = json.loads(manifest)
        return all(stated[name] == value for name, value in shard.address.items())
    except Exception:  # not there; or damaged, which can make its readers raise anything
        return False
