"""The command line: parses, calls, prints; one file a command, or a few that belong together.

What a command needs is imported when it runs, so that help is quick.
"""

from gahb_bench.cli import checks, compare, data, report, run, train
from gahb_bench.cli.app import app

__all__ = ["app", "checks", "compare", "data", "report", "run", "train"]
