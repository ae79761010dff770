"""Theories of what a network learns from a training set, each a denoiser in closed form."""
