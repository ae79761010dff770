"""What 10^9 images and 1,000 workers take: bytes, core-hours, the load of the client. Writes scale.md.

Each quantity is measured at two numbers of images; the line through them predicts a third, which is measured too.
"""

import tempfile
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import gahb_bench as gb
from gahb_bench.core.crew import Crew
from gahb_bench.core.environment import environment
from gahb_bench.core.memory import in_words
from gahb_bench.running import engine
from gahb_bench.running.plan import BLOCK, make_plan
from gahb_bench.sets.shards import export_shards

LAW, DENOISERS, SIGMAS = "calpha:size=32", ["mmse", "wavelet:rule=sure,shifts=all"], [0.03, 0.3]
SIZES, IMAGES, WORKERS = (256, 512, 1024), 10**9, 1000
CELLS = len(DENOISERS) * len(SIGMAS)


class Meter(Executor):
    """Does at once what it is given, and counts: core-seconds and bytes of messages of what a worker would do."""

    def __init__(self):
        self.seconds, self.bytes, self.tasks = 0.0, 0, 0

    def submit(self, fn, /, *args, **kwargs):
        began, future = time.process_time(), Future()
        future.set_result(fn(*args, **kwargs))
        self.seconds += time.process_time() - began
        self.bytes += len(args[0])
        self.tasks += 1
        return future


def measure(images: int) -> dict[str, float]:
    """All quantities at one number of images."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        for what in ("shards", "run"):
            meter, folder, began = Meter(), Path(place) / what, time.process_time()
            crew = Crew(meter, threads=1)
            if what == "shards":
                export_shards(LAW, folder, images=images, size=BLOCK, crew=crew)
                files = folder.glob("*.npz")
            else:
                engine.run(make_plan([LAW], DENOISERS, SIGMAS, images), folder, crew=crew)
                files = folder.glob("parts/*.npz")
            client = time.process_time() - began - meter.seconds
            found |= {f"{what}: core-seconds of workers": meter.seconds, f"{what}: core-seconds of the client": client}
            found |= {f"{what}: bytes kept": sum(path.stat().st_size for path in files)}
            found |= {f"{what}: bytes of messages": meter.bytes, f"{what}: tasks": meter.tasks}
    return found


def main() -> None:
    """Measure, predict, extrapolate, write."""
    measure(128)  # what is loaded and computed once
    small, middle, large = (measure(images) for images in SIZES)
    slopes = {name: (middle[name] - small[name]) / (SIZES[1] - SIZES[0]) for name in small}
    lines = []
    for name, slope in slopes.items():
        predicted = middle[name] + slope * (SIZES[2] - SIZES[1])
        numbers = f"{slope:.3g} | {predicted:,.4g} | {large[name]:,.4g} | {large[name] / predicted:.2f}"
        lines.append(f"| {name} | {numbers} | {_whole(name, slope * IMAGES)} |")
    task = slopes["run: core-seconds of workers"] / slopes["run: tasks"]
    client = slopes["run: core-seconds of the client"] / slopes["run: tasks"]
    values = {
        "version": gb.__version__,
        "cpu": environment("cpu")["cpu"],
        "lines": "\n".join(lines),
        "task": f"{task:.2g}",
        "client": f"{1000 * client:.2g}",
        "busy": f"{task / client:,.0f}",
        "least": f"{WORKERS * client:.2g}",
        "slow": f"{1000 * WORKERS * client / (BLOCK * len(DENOISERS)):.2g}",
    }
    (Path(__file__).parent / "scale.md").write_text(PAGE.format(**values), encoding="utf-8")


def _whole(name: str, value: float) -> str:
    """A quantity at all images, in words."""
    if "seconds" in name:
        return f"{value / 3600:,.0f} core-hours"
    return in_words(int(value)) if "bytes" in name else f"{value:.3g}"


PAGE = f"""# What 10^9 images and {WORKERS:,} workers take

Made by `python reports/scale.py` with gahb_bench {{version}}, on {{cpu}}: core-seconds of one thread. Law `{LAW}`; the
run has {CELLS} cells ({len(DENOISERS)} denoisers, {len(SIGMAS)} noise levels), a shard {BLOCK} images. The line through
{SIZES[0]:,} and {SIZES[1]:,} images predicts {SIZES[2]:,}, which are measured too.

| quantity | an image | predicted at {SIZES[2]:,} | measured | ratio | at 10^9 images |
|---|---|---|---|---|---|
{{lines}}

A task of the run ({BLOCK} images, one noise level, {len(DENOISERS)} denoisers) takes a worker {{task}} s and the
client {{client}} ms, which sends it, keeps what comes back, and makes its share of the tables. So the client keeps
about {{busy}} workers busy with such tasks; {WORKERS:,} workers want tasks of {{least}} s, that is denoisers of
{{slow}} ms an image, or several clients, each with families of its own (`report` shows their runs on one page).
Two tasks a worker are in flight: a scheduler holds {2 * WORKERS:,} of them, whatever the number of images. `generate`
leaves its client little to do but to write.
"""

if __name__ == "__main__":
    main()
