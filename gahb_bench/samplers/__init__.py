"""Ways from noise to images with a denoiser, one file each."""
