"""Denoisers that know nothing, or a training set: one method a file."""
