"""Data sets as files, for use outside this package."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gahb_bench import make
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.environment import version
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import refuse_replacing, write_output
from gahb_bench.scoring.score import check_images


def export(
    family: str,
    path: Path,
    *,
    images: int,
    seed: int = 0,
    split: str = "test",
    noise: bool = False,
    sigmas: Sequence[float] = (),
) -> dict[str, Any]:
    """Write images of a family, their latents and a manifest to a ``.npz`` file.

    The file holds ``images`` float32 ``(n, c, h, w)``, ``latent_NAME`` for each latent, ``indices``, ``manifest`` (JSON
    text), and with ``noise`` the paired unit noise ``unit_noise``, so that ``y = images + sigma * unit_noise``.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UsageError
        For an unknown family or split, or a file that cannot be written.
    StoreError
        If the file is there and no data set.
    """
    check_images(images)
    if path.suffix != ".npz":
        raise UsageError(f"--out {path} is not allowed: a data set is a .npz file, or with --shard-size a folder.")
    refuse_replacing(path, [b"manifest.npy"])
    law = make.family(family)
    arrays = arrays_of(law, range(images), seed, split, noise)
    manifest = manifest_of(law, seed, split, images, sigmas, arrays)
    packed: dict[str, Any] = {**arrays, "manifest": np.array(json.dumps(manifest))}
    write_output(path, lambda file: np.savez_compressed(file, **packed))
    return manifest


def arrays_of(law: Family, indices: range, seed: int, split: str, noise: bool) -> dict[str, np.ndarray]:
    """Images of a law, their latents and, if wanted, their unit noise, by the names that files give them."""
    batch = law.sample(indices, seed=seed, split=split)
    arrays = {"images": batch.images.numpy(), "indices": np.asarray(batch.indices)}
    arrays |= {f"latent_{name}": value.numpy() for name, value in batch.latents.items()}
    return arrays | ({"unit_noise": unit_noise(batch).numpy()} if noise else {})


def manifest_of(
    law: Family, seed: int, split: str, images: int, sigmas: Sequence[float], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What a file of these arrays says of itself."""
    return {
        "gahb_bench": version("gahb_bench"),
        "family": law.spec,
        "parameters": law.parameters,
        "seed": seed,
        "split": split,
        "images": images,
        "sigmas": list(sigmas),
        "arrays": {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in arrays.items()},
    }
