"""Data sets in shards: complete, reproducible one by one, made again where damaged."""

import json

import numpy as np
import pytest
from pyarrow import parquet

import gahb_bench as gb
from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.sets.shards import export_shards

LAW = "disks:size=16"


def _export(folder, **changes):
    options = {"images": 25, "size": 10, "seed": 3, "split": "val", "noise": True} | changes
    return export_shards(LAW, folder, **options)


def test_shards_hold_the_images_that_python_gives(tmp_path):
    made = _export(tmp_path)
    assert (made.shards, made.finished, made.found) == (3, 3, 0)
    batch = gb.family(LAW).sample(range(25), seed=3, split="val")
    arrays = [np.load(tmp_path / f"shard-{number:05d}.npz") for number in range(3)]
    assert np.array_equal(np.concatenate([each["images"] for each in arrays]), batch.images)
    assert np.concatenate([each["indices"] for each in arrays]).tolist() == list(range(25))
    y = np.concatenate([each["images"] + 0.1 * each["unit_noise"] for each in arrays])
    assert y == pytest.approx(gb.add_noise(batch, 0.1).numpy(), abs=1e-6)
    stated = json.loads(str(arrays[2]["manifest"]))
    assert (stated["family"], stated["first"], stated["images"], stated["split"]) == (LAW, 20, 5, "val")
    assert json.loads((tmp_path / "set.json").read_text())["images"] == 25


def test_parquet_holds_the_same(tmp_path):
    _export(tmp_path, form="parquet")
    table = parquet.read_table(tmp_path / "shard-00001.parquet")
    batch = gb.family(LAW).sample(range(10, 20), seed=3, split="val")
    images = np.stack(table["images"].to_numpy()).reshape(-1, 1, 16, 16)
    assert np.array_equal(images, batch.images)
    assert table["indices"].to_pylist() == list(range(10, 20))
    assert set(table.column_names) == {"images", "indices", "unit_noise", *(f"latent_{name}" for name in batch.latents)}


@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("damage", ["removed", "cut", "flipped", "of another"])
def test_only_what_is_missing_or_damaged_is_made_again_byte_for_byte(tmp_path, form, damage):
    _export(tmp_path, form=form)
    files = sorted(tmp_path.glob(f"*.{form}"))
    before = [path.read_bytes() for path in files]
    times = [path.stat().st_mtime_ns for path in files]
    if damage == "removed":
        files[1].unlink()
    else:
        middle = len(before[1]) // 2
        flipped = before[1][:middle] + bytes([before[1][middle] ^ 1]) + before[1][middle + 1 :]
        files[1].write_bytes({"cut": before[1][:middle], "flipped": flipped, "of another": before[0]}[damage])
    made = _export(tmp_path, form=form)
    assert (made.found, made.finished) == (2, 3)
    assert [path.read_bytes() for path in files] == before
    assert [files[i].stat().st_mtime_ns == times[i] for i in range(3)] == [True, False, True]


def test_a_set_that_was_stopped_goes_on(tmp_path):
    crew = Crew()

    def stop(done, total):
        crew.stopped = done == 1

    made = _export(tmp_path, crew=crew, progress=stop)
    assert (made.finished, made.shards) == (1, 3)
    assert (_export(tmp_path).found, len(list(tmp_path.glob("*.npz")))) == (1, 3)


def test_another_set_and_other_files_are_refused(tmp_path):
    _export(tmp_path / "mine")
    for changes in ({"seed": 4}, {"images": 26}, {"size": 5}, {"noise": False}, {"form": "parquet"}):
        with pytest.raises(StoreError, match="another set"):
            _export(tmp_path / "mine", **changes)
    (tmp_path / "mine" / "set.json").unlink()
    with pytest.raises(StoreError, match="nothing was changed"):
        _export(tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "--shard-size 0"),
        ({"form": "csv"}, "--format csv"),
        ({"images": 0}, "images=0"),
        ({"split": "tests"}, "unknown split"),
        ({"size": 10**12, "images": 10**12}, "smaller --shard-size"),
    ],
)
def test_wrong_usage(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        _export(tmp_path, **changes)
    with pytest.raises(UsageError, match="it is a folder"):
        _export(tmp_path / "a.npz")
