"""The page of a folder of posteriors."""
