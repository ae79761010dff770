"""Training a network on a law, beside the optimum: settings, batches, the loop, checkpoints."""
