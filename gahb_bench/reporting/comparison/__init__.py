"""A comparison of runs: what it says, and that as text, as a page and for programs."""
