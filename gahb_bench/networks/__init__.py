"""Architectures: one file each. What they are trained with is in `gahb_bench.training`; weights in ``pretrained/``."""
