"""The command `posterior`: its cells, its folder."""
