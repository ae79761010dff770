"""Shapes and types are checked while tests run: every annotated function of the package goes through beartype."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: pytest-xdist uses the other cores

from jaxtyping import install_import_hook

if os.environ.get("GAHB_CHECK_TYPES", "1") == "1":
    install_import_hook("gahb_bench", "beartype.beartype")
