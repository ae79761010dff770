"""The command `geometry`: its cells, its folder."""
