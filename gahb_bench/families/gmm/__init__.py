"""Gaussian mixtures: several modes, with the posterior mean in closed form."""
