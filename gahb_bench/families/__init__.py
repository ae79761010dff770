"""What the images are: one law a file."""
