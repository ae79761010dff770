"""Methods of inverse problems: posterior samples from a denoiser, one method a file."""
