"""Disks: a five-dimensional manifold, with the posterior mean by certified quadrature."""
