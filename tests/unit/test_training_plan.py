"""Many trainings from one file."""

import json
from pathlib import Path

import pytest
import torch

from gahb_bench.core.errors import UsageError
from gahb_bench.networks import weights
from gahb_bench.training import budget, loop, plan
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings

TINY = "edm-unet:levels=1,width=4"
BLOCK = """
[[trainings]]
families = ["calpha:size=8", "gmm:size=8"]
networks = ["edm-unet:width=4,levels=1", "dit:width=8,depth=1,heads=2"]
minutes = 0.02
precision = "bf16"
validation_images = 4
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return written


def test_every_network_is_trained_on_every_law(write, tmp_path):
    trainings = plan.read(write(BLOCK))
    assert len(trainings) == 4
    told = []
    assert plan.carry_out(trainings, tmp_path / "out", progress=told.append) == {}
    assert {now.place for now in told} == {1, 2, 3, 4}
    assert told[0].seconds_left > 60 * 0.02 * 3  # the other three are counted
    steps = {}
    for training in trainings:
        recipe = weights.read_recipe(tmp_path / "out" / training.name / "last.safetensors")
        assert (recipe["family"], recipe["network"]) == (training.family, training.network)
        steps[training.name] = recipe["step"]
        assert recipe["settings"]["steps"] == recipe["step"]
        assert recipe["core_seconds"] > 0
    again = []
    plan.carry_out(trainings, tmp_path / "out", progress=again.append)
    assert again == []  # finished: nothing is measured or done again
    assert all(
        weights.read_recipe(tmp_path / "out" / name / "last.safetensors")["step"] == count
        for name, count in steps.items()
    )


def test_a_plan_trains_on_both_splits(write, tmp_path):
    block = BLOCK.replace(', "gmm:size=8"', "").split(', "dit')[0]
    text = "".join(f'{block}]\nsteps = 2\nimages = 3\nsplit = "{split}"\n' for split in ("train-a", "train-b"))
    trainings = plan.read(write(text))
    assert [training.name.rpartition("--")[2] for training in trainings] == ["train-a", "train-b"]
    assert plan.carry_out(trainings, tmp_path) == {}
    recipes = [weights.read_recipe(tmp_path / training.name / "last.safetensors") for training in trainings]
    assert [recipe["settings"]["split"] for recipe in recipes] == ["train-a", "train-b"]


def test_a_budget_buys_as_many_steps_as_fit(write, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds_a_step", lambda settings, device: 0.05)
    (training,) = plan.read(
        write(BLOCK.replace(', "gmm:size=8"', "").split(', "dit')[0] + "]\nminutes = 0.0305\nbatch = 2")
    )
    plan.carry_out([training], tmp_path)
    assert json.loads((tmp_path / training.name / "training.json").read_text())["settings"]["steps"] == 36
    monkeypatch.setattr(budget, "seconds_a_step", lambda settings, device: 0.5)
    plan.carry_out([training], tmp_path)  # the folder says how many
    assert json.loads((tmp_path / training.name / "training.json").read_text())["settings"]["steps"] == 36


def test_the_time_of_a_step_weighs_both_precisions(monkeypatch):
    """Two thirds of the steps are in bfloat16: a clock that counts 1 for those and 4 for the others gives 2."""
    made = make_settings("calpha:size=8", TINY, {"precision": "bf16", "steps": 3000, "validation_images": 2})
    ticks = [0.0]
    advance = loop.Trainer.advance

    def counted(self, forward):
        ticks[0] += 1.0 if self.step < self.low_steps else 4.0
        return advance(self, forward)

    monkeypatch.setattr(loop.Trainer, "advance", counted)
    monkeypatch.setattr(budget.time, "process_time", lambda: ticks[0])
    assert budget.seconds_a_step(made) == pytest.approx(2.0)


def test_one_that_fails_costs_itself_alone(write, tmp_path, monkeypatch):
    rate = loop.Trainer.rate
    monkeypatch.setattr(
        loop.Trainer, "rate", lambda self, step: rate(self, step) * (1e30 if "gmm" in self.settings.family else 1)
    )
    text = BLOCK.replace("minutes = 0.02", "steps = 45").replace('"bf16"', '"float32"')
    trainings = plan.read(write(text))
    failed = plan.carry_out(trainings, tmp_path)
    assert set(failed) == {training.name for training in trainings if training.family.startswith("gmm")}
    assert all("finite" in reason for reason in failed.values())
    assert (tmp_path / trainings[0].name / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "trainings"),
        ("[[trainings]]\nfamilies = []\nnetworks = ['dit']\nminutes = 1", "families"),
        ("[[trainings]]\nfamilies = ['calpha']\nnetworks = ['dit']", "either minutes of one core or steps"),
        ("[[trainings]]\nfamilies = ['calpha']\nnetworks = ['dit']\nminutes = 1\nsteps = 3", "either minutes"),
        ("[[trainings]]\nfamilies = ['calpha']\nnetworks = ['dit']\nminutes = -1", "minutes"),
        ("[[trainings]]\nfamilies = ['calpha']\nnetworks = ['no-such']\nminutes = 1", "no-such"),
        ("[[trainings]]\nfamilies = ['calpha:size=30']\nnetworks = ['dit']\nminutes = 1", "divisible by 4"),
        ("[[trainings]]\nfamilies = ['calpha', 'calpha']\nnetworks = ['dit']\nminutes = 1", "twice"),
        ("[[trainings]]\nfamilies = ['calpha']\nnetworks = ['dit']\nminutes = 1\nbatches = 3", "batches"),
        ("[[trainings", "not TOML"),
        ("surprise = 1", "surprise"),
    ],
)
def test_a_wrong_plan_is_refused(write, text, says):
    with pytest.raises(UsageError, match=says):
        plan.read(write(text))


def test_a_missing_plan_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the plan .*no\.toml"):
        plan.read(tmp_path / "no.toml")


def test_half_precision_is_for_the_first_two_thirds_of_the_steps(tmp_path, monkeypatch):
    """Inside, features are in bfloat16 there; the image goes in and comes out in float32."""
    seen = []
    advance = loop.Trainer.advance

    def watched(self, forward):
        middle = self.network.network.up[0] if len(self.network.network.up) else self.network.network.down[0][1].second
        hook = middle.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        ends = [
            layer.register_forward_hook(lambda module, inputs, output: outer.append(output.dtype))
            for layer in (self.network.network.first, self.network.network.last)
        ]
        loss = advance(self, forward)
        for each in (hook, *ends):
            each.remove()
        return loss

    outer = []
    monkeypatch.setattr(loop.Trainer, "advance", watched)
    values = {"precision": "bf16", "steps": 6, "batch": 2, "validate_every": 6, "validation_images": 2}
    fit(make_settings("calpha:size=8", TINY, values), tmp_path / "t")
    assert seen == [torch.bfloat16] * 4 + [torch.float32] * 2
    assert set(outer) == {torch.float32}


def test_the_kept_trainings_are_of_the_plan_and_finished():
    """Each is one that the plan asks for, done to its last step; all together are small."""
    reports = Path(__file__).parents[2] / "reports"
    planned = {training.name: training for training in plan.read(reports / "architectures.toml")}
    small = {training.name for training in plan.read(reports / "matched.toml")}
    assert small <= set(planned)
    kept = sorted((reports / "architectures").glob("*/best.safetensors"))
    assert kept
    for path in kept:
        training, recipe = planned[path.parent.name], weights.read_recipe(path)
        assert (recipe["family"], recipe["network"]) == (training.family, training.network)
        last = json.loads((path.parent / "log.jsonl").read_text().splitlines()[-1])
        assert last["step"] == recipe["settings"]["steps"]
        assert last["core_seconds"] == pytest.approx(60 * training.minutes, rel=0.25)
        tensors = weights.read_tensors(path)
        half = {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float16}
        assert half or path.stat().st_size < 2**18
    assert sum(path.stat().st_size for path in kept) < 16 * 2**20
