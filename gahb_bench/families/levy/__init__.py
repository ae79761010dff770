"""Sparse Levy processes: signals of independent jumps, with the posterior mean by messages on a lattice."""
