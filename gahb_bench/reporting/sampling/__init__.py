"""The page and the figures of a folder of samples, made from its files alone."""
