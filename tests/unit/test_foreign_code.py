"""Foreign code: what its results depend on is in their key, and it leaves no traces."""

import contextlib
import os
import random
import signal
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import DenoiserError
from gahb_bench.denoisers.brought.guard import undisturbed
from gahb_bench.denoisers.brought.user import load
from gahb_bench.denoisers.brought.watch import Seen
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan

FAMILY = "calpha:size=8"


class Folder:
    """Files of a user's, loaded anew each time as by a new process."""

    def __init__(self, path, monkeypatch):
        self.path = path
        monkeypatch.chdir(path)
        monkeypatch.syspath_prepend(str(path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        self.before = set(sys.modules)

    def write(self, **files):
        for name, text in files.items():
            file = self.path / Path(name.replace("__in__", "/")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))

    def forget(self):
        for name in set(sys.modules) - self.before:
            if str(self.path) in str(getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]

    def run(self, spec="mydn:denoise"):
        """How many of the two cells were found; the mean error; what the run says."""
        self.forget()
        outcome = engine.run(make_plan([FAMILY], [spec], [0.1, 0.3], images=2), self.path / "run")
        scores = outcome.scores
        assert set(scores["status"]) == {"ok"}, scores["reason"].iloc[0]
        return outcome.resumed, float(scores["mse"].mean()), outcome.warnings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = Folder(tmp_path, monkeypatch)
    yield made
    made.forget()


HELPERS = {
    "a helper's constant": (
        {
            "lib__in____init__": "",
            "lib__in__helper": "GAIN = 1.0\ndef f(y):\n    return GAIN * y\n",
            "mydn": "from lib.helper import f\ndef denoise(y, sigma):\n    return f(y)\n",
        },
        {"lib__in__helper": "GAIN = 0.9\ndef f(y):\n    return GAIN * y\n"},
    ),
    "a sub-package that a function imports": (
        {
            "pack__in____init__": "",
            "pack__in__deep__in____init__": "def f(y):\n    return 1.0 * y\n",
            "mydn": "def denoise(y, sigma):\n    from pack.deep import f\n    return f(y)\n",
        },
        {"pack__in__deep__in____init__": "def f(y):\n    return 0.9 * y\n"},
    ),
    "a class with __call__ in another module": (
        {
            "models": "class Net:\n    gain = 1.0\n    def __call__(self, y, sigma):\n        return self.gain * y\n",
            "mydn": "import models\ndenoise = models.Net()\n",
        },
        {"models": "class Net:\n    gain = 0.9\n    def __call__(self, y, sigma):\n        return self.gain * y\n"},
    ),
    "a helper whose results are cached": (
        {
            "cached": "import functools\n@functools.lru_cache\ndef gain():\n    return 1.0\n",
            "mydn": "from cached import gain\ndef denoise(y, sigma):\n    return gain() * y\n",
        },
        {"cached": "import functools\n@functools.lru_cache\ndef gain():\n    return 0.9\n"},
    ),
    "a helper of a helper": (
        {
            "inner": "def g(y):\n    return 1.0 * y\n",
            "outer": "import inner\ndef f(y):\n    return inner.g(y)\n",
            "mydn": "import outer\ndef denoise(y, sigma):\n    return outer.f(y)\n",
        },
        {"inner": "def g(y):\n    return 0.9 * y\n"},
    ),
}


@pytest.mark.parametrize("spec", ["mydn:denoise", "callable:path=(mydn:denoise)"])
@pytest.mark.parametrize("case", HELPERS)
def test_results_follow_the_code_that_they_come_from(folder, case, spec):
    first, changed = HELPERS[case]
    folder.write(**first)
    assert folder.run(spec)[0] == 0
    found, before, told = folder.run(spec)
    assert (found, told) == (2, [])
    folder.write(**changed)
    found, after, _ = folder.run(spec)
    assert found == 0
    assert after != before


FILES = {
    "read at import": "import pathlib\nGAIN = float(pathlib.Path('gain.txt').read_text())\n"
    "def denoise(y, sigma):\n    return GAIN * y\n",
    "read by each call": "def denoise(y, sigma):\n    with open('gain.txt') as file:\n"
    "        return float(file.read()) * y\n",
    "read once, kept in a global": "import pathlib\nnet = None\ndef denoise(y, sigma):\n    global net\n"
    "    if net is None:\n        net = float(pathlib.Path('gain.txt').read_text())\n    return net * y\n",
    "by a loader's import": "import importlib\nhelper = importlib.import_module('read' + 'er')\n"
    "def denoise(y, sigma):\n    return helper.gain() * y\n",
}


@pytest.mark.parametrize("case", FILES)
def test_results_follow_the_files_that_are_opened(folder, case):
    folder.write(
        mydn=FILES[case], reader="import pathlib\ndef gain():\n    return float(pathlib.Path('gain.txt').read_text())\n"
    )
    (folder.path / "gain.txt").write_text("1.0")
    folder.run()
    found, before, told = folder.run()
    assert (found, told) == (2, [])
    (folder.path / "gain.txt").write_text("0.9")
    found, after, _ = folder.run()
    assert found == 0
    assert after != before


BEYOND = {
    "it reads a database": "import sqlite3\ndef denoise(y, sigma):\n"
    "    base = sqlite3.connect(':memory:')\n    base.close()\n    return y\n",
    "it starts another program": "import subprocess\ndef denoise(y, sigma):\n    subprocess.run(['true'])\n"
    "    return y\n",
    "it connects to a network": "import socket\ndef denoise(y, sigma):\n    try:\n"
    "        socket.create_connection(('127.0.0.1', 9), 0.2)\n    except OSError:\n        pass\n    return y\n",
    "it reads environment variables": "import os\ndef denoise(y, sigma):\n"
    "    return float(os.environ.get('GAIN', 1)) * y\n",
    "cannot be looked into": "import threading\nLOCK = threading.Lock()\ndef denoise(y, sigma):\n"
    "    with LOCK:\n        return y\n",
}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("mydn:denoise", "callable:path=(mydn:denoise),returns=noise"),
        ("callable:path=(mydn:denoise),returns=noise", "callable:path=(mydn:denoise),returns=noise,sigma_scale=255"),
        ("wavelet:rule=hard", "wavelet:rule=soft"),
        ("local-mmse:patch=1", "local-mmse:patch=3"),
        ("gaussian-blur:width=1", "gaussian-blur:width=2"),
    ],
)
def test_a_name_hides_no_change_of_what_it_stands_for(folder, first, then):
    folder.write(mydn="def denoise(y, sigma):\n    return y * 0.9 + 0 * sigma\n")
    _, before, _ = folder.run(f"mine={first}")
    assert folder.run(f"mine={first}")[0] == 2
    resumed, after, _ = folder.run(f"mine={then}")
    assert resumed == 0
    assert after == folder.run(then)[1]
    assert (after == before) == ("sigma_scale" in then)  # of a sigma that it does not look at


@pytest.mark.parametrize("why", BEYOND)
def test_what_cannot_be_followed_is_not_used_again_and_the_run_says_why(folder, why):
    folder.write(mydn=BEYOND[why])
    for _ in range(2):
        found, _, told = folder.run()
        assert found == 0
        assert [sentence for sentence in told if why in sentence and sentence.startswith("mydn:denoise: ")]


def test_unused_globals_and_unread_files_do_not_matter(folder):
    folder.write(mydn="import threading\nLOCK = threading.Lock()\nTIMES = []\ndef denoise(y, sigma):\n    return y\n")
    folder.run()
    folder.write(unrelated="a = 1\n")
    assert folder.run()[0] == 2


def test_watching_sees_reads_only(tmp_path, monkeypatch):
    (tmp_path / "there.py").write_text("open('out.txt', 'w').close()\nopen('in.txt').close()\nvalue = 1\n")
    (tmp_path / "in.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    seen = Seen()
    assert load("there:value", seen) == 1
    sys.modules.pop("there")
    assert {path.name for path in seen.files} >= {"in.txt", "there.py"}
    assert "out.txt" not in {path.name for path in seen.files}


# ---------------------------------------------------------------------------------------------------- traces


class InPlace(torch.nn.Module):
    """Returns the noise, and changes its input."""

    def forward(self, y, sigma):
        y.sub_(0.5)
        return y.mul_(0.1)


def _doors(net, folder):
    y, sigma = torch.rand(2, 1, 8, 8), torch.full((2,), 0.1)
    torch.jit.script(net).save(str(folder / "net.pt"))
    names = {0: torch.export.Dim("n", min=2, max=64)}
    torch.export.save(torch.export.export(net, (y, sigma), dynamic_shapes=(names, names)), folder / "net.pt2")
    return [
        gb.denoiser(net, returns="noise"),
        gb.denoiser(net.forward, returns="noise"),
        gb.denoiser(lambda y, sigma: net(y, sigma), returns="noise"),
        gb.denoiser(f"torchscript:file={folder / 'net.pt'},returns=noise"),
        gb.denoiser(f"exported:file={folder / 'net.pt2'},returns=noise"),
    ]


def test_an_input_changed_in_place_is_a_copy(tmp_path):
    y = torch.rand(2, 1, 8, 8)
    kept, expected = y.clone(), y - 0.1 * (y - 0.5)
    for denoiser in _doors(InPlace(), tmp_path):
        torch.testing.assert_close(denoiser(y, 0.1), expected)
        assert torch.equal(y, kept), denoiser.spec


class Frozen(torch.nn.Module):
    """A network in training with a part of it in evaluation."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5)

    def forward(self, y, sigma):
        return self.drop(self.norm(y))


class Holder:
    """An object that holds a network."""

    def __init__(self, net):
        self.net = net

    def __call__(self, y, sigma):
        return self.net(y, sigma)

    def method(self, y, sigma):
        return self.net(y, sigma)


GLOBAL = Frozen()


def by_global(y, sigma):
    return GLOBAL(y, sigma)


@pytest.mark.parametrize(
    "reach",
    [
        lambda net: net,
        lambda net: net.forward,
        lambda net: lambda y, sigma: net(y, sigma),
        Holder,
        lambda net: Holder(net).method,
        lambda net: torch.nn.Sequential(net).forward and Holder({"a": [net]}["a"][0]),
        lambda net: by_global,
    ],
)
def test_networks_are_scored_in_evaluation_mode_and_come_back_as_they_were(reach):
    net = GLOBAL
    net.train()
    net.norm.eval()
    net.norm.running_var.fill_(4.0)
    y = torch.rand(4, 1, 8, 8)
    expected = y / (4.0 + net.norm.eps) ** 0.5
    statistics = net.norm.running_mean.clone()
    denoiser = gb.denoiser(reach(net))
    torch.testing.assert_close(denoiser(y, 0.1), expected)
    assert (net.training, net.norm.training, net.drop.training) == (True, False, True)
    assert torch.equal(net.norm.running_mean, statistics)
    net.eval()
    denoiser(y, 0.1)
    assert not net.training


def test_the_process_is_put_back():
    def rude(y, sigma):
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        torch.set_grad_enabled(not torch.is_grad_enabled())
        torch.set_num_threads(torch.get_num_threads() + 1)
        return y

    def state():
        return (
            os.getcwd(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_rng_state().sum().item(),
            np.random.get_state()[1].sum(),  # noqa: NPY002
        )

    before = state()
    gb.score(FAMILY, [rude], [0.1], images=2)
    assert state() == before

    def fails(y, sigma):
        rude(y, sigma)
        raise ValueError

    gb.score(FAMILY, [fails], [0.1], images=2)
    assert state() == before
    with undisturbed([]):
        python = random.getstate()  # here, since the type checker of these tests draws from it elsewhere
        random.seed(1)
    assert random.getstate() == python


def _rude_environment():
    os.environ.update(GAHB_RUDE="1", HOME="/nowhere")
    os.environ.pop("PATH")


def _handlers():
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)}


def _handle(*_):
    pass


BACKENDS = torch.backends
RUDE = {
    "environment": (lambda: dict(os.environ), _rude_environment),
    "modules' places": (lambda: list(sys.path), lambda: sys.path.insert(0, "/nowhere")),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("ignore")),
    "signals": (_handlers, lambda: [signal.signal(number, _handle) for number in _handlers()]),
    "NumPy's errors": (np.geterr, lambda: np.seterr(all="ignore")),
    "default device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "deterministic": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    ),
    "anomalies": (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    ),
    "precision": (torch.get_float32_matmul_precision, lambda: torch.set_float32_matmul_precision("medium")),
    "cudnn": (lambda: BACKENDS.cudnn.benchmark, lambda: setattr(BACKENDS.cudnn, "benchmark", True)),
    "cudnn's precision": (lambda: BACKENDS.cudnn.allow_tf32, lambda: setattr(BACKENDS.cudnn, "allow_tf32", False)),
    "mkldnn": (lambda: BACKENDS.mkldnn.enabled, lambda: setattr(BACKENDS.mkldnn, "enabled", False)),
    "mkldnn's precision": (
        lambda: BACKENDS.mkldnn.conv.fp32_precision,
        lambda: setattr(BACKENDS.mkldnn.conv, "fp32_precision", "bf16"),
    ),
}


@pytest.mark.parametrize("ends", ["returns", "fails"])
@pytest.mark.parametrize("what", RUDE)
def test_what_a_denoiser_changes_of_the_process_is_put_back(what, ends):
    find, change = RUDE[what]
    changed = []

    def rude(y, sigma):
        change()
        changed.append(find())
        if ends == "fails":
            raise ValueError("on purpose")
        return y

    before = find()
    denoiser = gb.denoiser(rude)
    with contextlib.suppress(DenoiserError):
        denoiser(torch.rand(2, 1, 8, 8), 0.1)
    assert changed[0] != before  # it was changed indeed
    assert find() == before


def test_a_warning_that_was_shown_is_not_shown_again(recwarn):
    """Filters that were not changed are left alone: putting them back would make Python forget what it has shown."""

    def warns(y, sigma):
        warnings.warn("once", stacklevel=1)
        return y

    warnings.simplefilter("default")
    denoiser = gb.denoiser(warns)
    for _ in range(3):
        denoiser(torch.rand(2, 1, 8, 8), 0.1)
    assert [str(one.message) for one in recwarn] == ["once"]


def test_a_denoiser_may_differentiate():
    """One step of a gradient of a data term, as plug-and-play methods take: also where no gradients are recorded."""

    def step(y, sigma):
        x = y.clone().requires_grad_()
        (slope,) = torch.autograd.grad((x - 0.5).square().sum() / 2, x)
        return y - 0.1 * slope

    class Step(torch.nn.Module):
        def forward(self, y, sigma):
            return step(y, sigma)

    y = torch.rand(2, 1, 8, 8)
    for call in (step, Step()):
        denoiser = gb.denoiser(call)
        torch.testing.assert_close(denoiser(y, 0.1), y - 0.1 * (y - 0.5))
        table = gb.score(FAMILY, [denoiser], [0.1, 0.2], images=2)
        assert set(table["status"]) == {"ok"}
