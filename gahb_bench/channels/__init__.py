"""What is observed: y given x. One channel a file."""
