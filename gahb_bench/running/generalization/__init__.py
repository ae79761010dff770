"""The folder of the command `generalization`."""
