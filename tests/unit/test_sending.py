"""Denoisers and laws go to other processes and do there what they do here, or say why they cannot."""

import pickle
import sys

import foreign_files
import pytest
import torch

from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import inform
from gahb_bench.running.engine import Task, perform, perform_elsewhere
from gahb_bench.running.plan import make_plan

LAW = "calpha:size=16"
MODULE = """
import torch
weights = {gain}
halves = lambda y, sigma: weights * y
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hook = lambda y: weights * y
    def forward(self, y, sigma):
        return self.hook(y)
net = Net()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "sent_module.py").write_text(MODULE.format(gain=0.5))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sent_module", raising=False)
    return tmp_path / "sent_module.py"


def _same(denoiser):
    again = pickle.loads(pickle.dumps(denoiser))
    y = make.family(LAW).sample(range(2)).images
    assert torch.equal(again(y, 0.3), denoiser(y, 0.3))
    assert (again.spec, again.facts.digest, again.knows) == (denoiser.spec, denoiser.facts.digest, denoiser.knows)
    return again


def _names():
    entries = [entry.name for entry in registry.importable(registry.entries("denoisers"))]
    return [name for name in entries if name not in ("bm3d", "mixture-score", "empirical", "local")]


@pytest.mark.parametrize("name", _names())
def test_every_denoiser_of_the_catalogue(name, tmp_path):
    made = make.denoiser(foreign_files.spec(name, tmp_path) or name, LAW, tune=False)
    batch = make.family(LAW).sample(range(2))
    _same(inform(made, batch))


@pytest.mark.parametrize("law", [entry.name for entry in registry.entries("families")])
def test_every_law(law):
    of = ":of=(calpha:size=8)" if law in ("shuffled", "coloured") else ""
    made = make.family(f"{law}{of}")
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert torch.equal(again.sample([1]).images, made.sample([1]).images)


@pytest.mark.parametrize(
    "spec",
    ["sent_module:halves", "sent_module:net", "mine=sent_module:net", "callable:path=(sent_module:net),range=0:255"],
)
def test_a_callable_goes_by_its_name(spec, module):
    _same(make.denoiser(spec, LAW))


def test_a_file_that_is_another_there_is_refused(tmp_path):
    spec = foreign_files.spec("torchscript", tmp_path)
    sent = pickle.dumps(make.denoiser(spec, LAW))
    foreign_files.script(foreign_files.Noise(), tmp_path / "torchscript.pt")
    with pytest.raises(UsageError, match="a worker has another file of torchscript"):
        pickle.loads(sent)


def test_code_that_is_other_there_scores_nothing_and_says_so(module):
    plan = make_plan([LAW], ["identity", "sent_module:halves"], [0.3], images=3)
    law = plan.families[0]
    task = Task(law, 0, 3, 0, "test", tuple((method, plan.cell(law, method, 0.3)) for method in law.methods))
    here = {cell.denoiser: made.rows["mse"].tolist() for cell, made in perform(task)}
    assert {cell.denoiser: made.rows["mse"].tolist() for cell, made in perform_elsewhere(task)} == here
    module.write_text(MODULE.format(gain=0.25))
    found = {cell.denoiser: made.rows for cell, made in perform_elsewhere(task)}
    assert found["identity"]["mse"].tolist() == here["identity"]
    assert set(found["sent_module:halves"]["status"]) == {"failed"}
    assert "a worker has other code or files of sent_module:halves" in found["sent_module:halves"]["reason"].iloc[0]
