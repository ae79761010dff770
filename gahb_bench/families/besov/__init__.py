"""Sparse wavelet images, for which wavelet shrinkage is exactly optimal."""
