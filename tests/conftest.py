"""Shapes and types are checked while tests run: every annotated function of the package goes through beartype."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: pytest-xdist uses the other cores
if "PYTEST_XDIST_WORKER" not in os.environ:  # one home for all workers, and never the user's own
    _home = tempfile.TemporaryDirectory(prefix="gahb-bench-home-")
    os.environ["GAHB_BENCH_HOME"] = _home.name

from jaxtyping import install_import_hook

if os.environ.get("GAHB_CHECK_TYPES", "1") == "1":
    install_import_hook("gahb_bench", "beartype.beartype")
