"""Dataset cards: frozen evaluation sets, described by a spec and pinned by a fingerprint."""

from pathlib import Path

import numpy as np
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gahb_bench import make
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import data_folder, read_toml

_FINGERPRINT_IMAGES = 16
_TOLERANCE = 1e-5


class Fingerprint(BaseModel):
    """What the first images of the set look like, in numbers that any change of law or randomness would move.

    Rows are counted through the channels, as if these stood one below the other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float = Field(description="mean intensity of the first images")
    variance: float = Field(description="variance of their intensities")
    pixels: tuple[tuple[int, int, int, float], ...] = Field(description="(image, row, column, intensity)")
    noise: tuple[tuple[int, int, int, float], ...] = Field(description="(image, row, column, unit noise)")


class Card(BaseModel):
    """A frozen evaluation set: everything that determines its images, its noise and its noise levels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    spec: str
    split: rng.Split
    seed: int = Field(ge=0)
    images: int = Field(ge=1)
    sigmas: tuple[float, ...] = Field(min_length=1)
    fingerprint: Fingerprint

    def check(self) -> None:
        """Make the first images again and compare them with the fingerprint, to 1e-5.

        Raises
        ------
        UsageError
            If they differ: the set would not be the one the card describes.
        """
        now = fingerprint(self.spec, self.split, self.seed, self.images)
        for name in ("mean", "variance", "pixels", "noise"):
            given, made = np.asarray(getattr(self.fingerprint, name)), np.asarray(getattr(now, name))
            if given.shape != made.shape or not (np.abs(given - made).max() <= _TOLERANCE):  # NaN differs
                raise UsageError(
                    f"the card {self.title!r} does not describe the images this version makes: its {name} is "
                    f"{given.tolist()}, here it is {made.tolist()}. "
                    "Use the version the card was made with, or make a new card."
                )


def fingerprint(spec: str, split: str, seed: int, images: int) -> Fingerprint:
    """The fingerprint of a set, from its first 16 images (or all, if fewer).

    Rows are counted through the channels, one channel below the other: row ``h`` is the first of the second channel.
    """
    batch = make.family(spec).sample(range(min(images, _FINGERPRINT_IMAGES)), seed=seed, split=split)
    x, z = batch.images.double().numpy(), unit_noise(batch).double().numpy()
    x, z = x.reshape(len(batch), -1, x.shape[-1]), z.reshape(len(batch), -1, z.shape[-1])
    last, (h, w) = len(batch) - 1, x.shape[-2:]
    places = [(0, 0, 0), (0, h // 2, w // 3), (last, h - 1, w - 1)]

    def at(values: np.ndarray) -> tuple[tuple[int, int, int, float], ...]:
        return tuple((i, r, c, round(float(values[i, r, c]), 7)) for i, r, c in places)

    return Fingerprint(mean=round(float(x.mean()), 7), variance=round(float(x.var()), 7), pixels=at(x), noise=at(z))


def load_card(path: str | Path) -> Card:
    """Read a card: a path to a TOML file, or the bare name of one that comes with the package.

    Raises
    ------
    UsageError
        If there is no such file, or it is not a card.
    """
    file = Path(path)
    if not file.is_file():
        shipped = data_folder() / f"{file.name.removesuffix('.toml')}.toml"
        if str(path) != file.name or not shipped.is_file():
            known = ", ".join(sorted(p.stem for p in data_folder().glob("*.toml")))
            raise UsageError(f"there is no card {str(path)!r}: give a TOML file, or one of {known or 'none'}.")
        file = shipped
    try:
        return Card(**read_toml(file))
    except OSError as error:
        raise UsageError(f"the card {file} cannot be read: {error.strerror or error}. Give one that can.") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise UsageError(f"{file} is not a card: {problems}.") from None
    except ValueError as error:
        raise UsageError(f"{file} is not a card: {error}.") from None


def write_card(card: Card) -> str:
    """A card as TOML text, which reads back equal."""
    return tomli_w.dumps(card.model_dump(mode="json"))
