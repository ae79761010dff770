"""Shared mathematics: orthonormal transforms on any device."""
