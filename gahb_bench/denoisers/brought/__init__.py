"""What users bring: Python callables, and networks in files of other programs."""
