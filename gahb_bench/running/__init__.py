"""From a plan to a run folder: what is to be done, doing it, keeping it."""
