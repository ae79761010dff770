"""Settings of the benchmarks: ``pytest benchmarks/``. Ratios are taken within one run; machines are noisy."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
