"""From a run folder to a page, a figure and a text a person can read."""
