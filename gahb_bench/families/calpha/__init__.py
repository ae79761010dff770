"""Uniformly C^alpha images: a Gaussian law, whose optimum is the Wiener filter."""
