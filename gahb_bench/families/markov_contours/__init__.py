"""Random-walk contours, with the posterior mean by forward-backward."""
