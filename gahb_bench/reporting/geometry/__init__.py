"""The page and the figures of a folder of geometry, made from its files alone."""
