"""The page and the figures of a study of generalisation, made from its folder's files alone."""
