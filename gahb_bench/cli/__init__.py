"""The command line: parses, calls, prints; one file a command, found because it is there.

What a command needs is imported when it runs, so that help is quick.
"""

from importlib import import_module
from pkgutil import iter_modules

from gahb_bench.cli.app import app

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["app"]
