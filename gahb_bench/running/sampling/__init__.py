"""The command `sample`: its cells, its folder."""
