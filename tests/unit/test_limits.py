"""What asks for too much is refused, with the memory it would take, before anything is computed."""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

import gahb_bench as gb
from gahb_bench import __main__ as entry
from gahb_bench.core.denoiser import Facts
from gahb_bench.core.digest import Content
from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.network import build_empty
from gahb_bench.networks import weights
from gahb_bench.networks.recipe import read_recipe, shipped
from gahb_bench.scoring.matching import match
from gahb_bench.training import plan
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.settings import check_possible, make_settings

HUGE = 10**15
RUN = ("run", "--family", "calpha:size=16", "--denoisers", "mmse", "--sigmas", "0.1", "--images", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*RUN, "--images", HUGE), "of memory, and this machine has"),
        ((*RUN, "--images", HUGE, "--dry-run"), "of memory, and this machine has"),
        ((*RUN, "--sigmas", f"0.01:1:{HUGE}"), "noise levels would take"),
        ((*RUN, "--family", "disks:size=10000000"), "of memory, and this machine has"),
        (("show", "--family", "calpha:size=16", "--images", HUGE), "pictures: show at most 300"),
        (("show", "--family", "calpha:size=16", "--images", 50000), "has 200000 pictures: show at most 300"),
        (("show", "--family", "calpha:size=16", "--sigmas", "0.1:1:1000"), "has 6006 pictures: show at most 300"),
        ((*RUN, "--denoisers", f"wiener-data:n={10**12}"), "less than or equal to 10000000"),
        ((*RUN, "--denoisers", "wiener-data:n=1e12"), "n=1e12 is not allowed"),
        (
            (*RUN[:1], "--family", "calpha:size=512", "--denoisers", "wiener-data:n=1000000,stationary=false"),
            "the covariance of 1000000 images of calpha:size=512 would take",
        ),
        ((*RUN, "--family", "gmm:components=100000000"), "100000000 components of 1 x 64 x 64 would take 12 TB"),
        (("show", "--family", f"gmm:components={10**12},variant=points"), "components of 1 x 1 x 2 would take"),
        (("geometry", "--family", "calpha:size=8", "--denoisers", "tv", "--top", 10**9), "show at most 64"),
        (("geometry", "--family", "calpha:size=128", "--denoisers", "tv", "--top", 10**9), "show at most 16,382"),
        (("generate", "--family", "calpha:size=16", "--images", HUGE, "--out", "x.npz"), "of memory, and"),
        (("tune", "--denoiser", "tv", "--family", "calpha:size=16", "--images", HUGE), "of memory, and this"),
        (("run", "--family", "besov:mean=1e30", "--denoisers", "mmse"), "mean=1e30 is not allowed"),
        ((*RUN, "--device", "meta"), "'meta' cannot be used here"),
        (("show", "--family", "calpha:size=16", "--out", "x.jpg"), "a gallery is a .png file"),
    ],
)
def test_too_much_is_refused_and_nothing_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gahb_bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    err = capsys.readouterr().err
    assert (caught.value.code, message in err, err.count("\n")) == (2, True, 1), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("network", "values", "message"),
    [
        ("edm-unet", {"batch": HUGE}, "choose a smaller batch"),
        ("edm-unet", {"images": HUGE}, "of memory, and this machine has"),
        ("dncnn:depth=1000,width=8192", {}, "choose a smaller network"),
        ("dncnn:depth=100000000", {}, "less than or equal to 1000"),
    ],
)
def test_a_training_that_memory_does_not_hold_is_refused(network, values, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        check_possible(make_settings("calpha:size=16", network, values), "cpu", 1, tmp_path / "x")


def test_training_starts_from_shipped_weights_by_name():
    assert make_settings("calpha:size=32", "edm-unet", {"initial": "calpha-32"}).initial == str(shipped()["calpha-32"])
    with pytest.raises(UsageError, match="calpha-32"):
        make_settings("calpha:size=32", "edm-unet", {"initial": "calpha-33"})


def test_a_failed_first_attempt_is_begun_again_with_other_settings(tmp_path):
    first, other = (make_settings("calpha:size=8", "linear", {"learning_rate": rate}) for rate in (0.1, 0.01))
    TrainingFolder(tmp_path, first).write_description({})
    with pytest.raises(StoreError, match="other settings"), TrainingFolder(tmp_path, other).lock():
        pass
    with TrainingFolder(tmp_path, other).lock(begin_again=True):
        pass
    (tmp_path / "best.safetensors").write_bytes(b"kept")
    with pytest.raises(StoreError, match="other settings"), TrainingFolder(tmp_path, other).lock(begin_again=True):
        pass


def test_a_recipe_asks_for_no_more_numbers_than_its_file_holds(tmp_path):
    path = tmp_path / "x.safetensors"
    source = shipped()["calpha-32"]
    for network in ("dncnn:depth=1000,width=4096", "linear", "unet:width=4096"):
        weights.save(path, weights.read_tensors(source), read_recipe(source) | {"network": network})
        with pytest.raises(UsageError, match="has far more"):
            weights.load(path)
    assert build_empty(gb.network("linear"), (1, 4, 4), 0.5, 0.25, most=256) is not None
    assert build_empty(gb.network("linear"), (1, 4, 4), 0.5, 0.25, most=255) is None


def test_noise_that_the_images_cannot_hold_is_refused():
    for law in ("besov:size=16,mean=1000", "calpha:mean=-1000,size=16", "calpha:size=16,std=1000"):
        with pytest.raises(UsageError, match="lost in their rounding"):
            gb.score(law, ["identity"], [1e-5], images=2)
    assert len(gb.score("besov:size=16,mean=1000", ["identity"], [0.1], images=2)) == 2


def test_the_device_of_no_numbers_is_refused():
    with pytest.raises(UsageError, match="meta"):
        check_device("meta")
    check_device("cpu")


def table(denoiser):
    row = {"family": "calpha", "denoiser": denoiser, "knows": "nothing", "sigma": 0.1, "mse": 1.0, "status": "ok"}
    return pd.DataFrame([row | {"image": image, "reason": "", "seconds": 0.1} for image in range(3)])


OLD, NEW, OTHER = (f"network:weights={path}" for path in ("a/net.safetensors", "b/net.safetensors", "b/x.safetensors"))


@pytest.mark.parametrize(
    ("old", "new", "known", "found"),
    [
        (OLD, NEW, ({}, {}), ["file name"]),
        (OLD, OTHER, ({}, {}), []),
        (OLD, OTHER, ({("calpha", OLD): Facts("1")}, {("calpha", OTHER): Facts("1")}), ["content"]),
        (OLD, OTHER, ({("calpha", OLD): Facts("1")}, {("calpha", OTHER): Facts("2")}), []),
        (
            OLD,
            NEW,
            ({("calpha", OLD): Facts("1", architecture="unet")}, {("calpha", NEW): Facts("2", architecture="linear")}),
            [],
        ),
    ],
)
def test_a_denoiser_whose_file_moved_is_found(old, new, known, found):
    pairs, unmatched = match(table(old), table(new), {}, known=known)
    assert [pair.matched_by for pair in pairs] == found
    assert len(unmatched) == (0 if found else 2)


def test_a_denoiser_is_mapped_by_its_path_as_typed():
    pairs, unmatched = match(table(OLD), table(OTHER), {"a/net.safetensors": "./b/x.safetensors"})
    assert [(pair.denoiser, pair.candidate) for pair in pairs] == [(OLD, OTHER)]
    assert unmatched == []


@pytest.mark.parametrize(
    "spec",
    [
        *(f"{name}:file={{}}" for name in ("torchscript", "exported", "onnx")),
        *(f"{name}:weights={{}}" for name in ("paper-unet", "paper-bf-cnn", "paper-bias-free", "network")),
    ],
)
@pytest.mark.parametrize("linked", [True, False])
def test_a_device_is_no_file_of_a_network(tmp_path, spec, linked):
    """/dev/zero has no end; its like that has one stands for it here."""
    if spec.startswith("onnx"):
        pytest.importorskip("onnxruntime")
    path = tmp_path / "net.pt" if linked else Path("/dev/null")
    if linked:
        path.symlink_to("/dev/null")
    with pytest.raises(UsageError, match=r"it is a device or a pipe, not a file|there are no weights"):
        gb.denoiser(spec.format(path))


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "run", "run", "--margins", "/dev/null"),
        ("compare", "device", "run"),
        ("generate", "--card", "/dev/null", "--out", "x.npz"),
    ],
)
def test_a_device_is_no_other_file_either(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "run.json").symlink_to("/dev/null")
    monkeypatch.setattr(sys, "argv", ["gahb_bench", *words])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert "it is a device or a pipe, not a file" in error or "there is no card" in error


def test_a_device_is_no_plan_of_trainings():
    with pytest.raises(UsageError, match="cannot read the plan /dev/null: it is a device or a pipe"):
        plan.read(Path("/dev/null"))


def test_what_reads_a_pipe_is_not_used_again(tmp_path):
    """It would be waited for without end, and need not say the same twice."""
    os.mkfifo(tmp_path / "pipe")
    found = Content()
    found.file(tmp_path / "pipe")
    assert "pipe, a device or a pipe" in found.unfollowed
    found = Content()
    found.file(tmp_path / "none")
    found.file(tmp_path)
    assert not found.unfollowed
