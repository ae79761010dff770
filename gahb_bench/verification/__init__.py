"""Identities that show a known optimum to be right."""
