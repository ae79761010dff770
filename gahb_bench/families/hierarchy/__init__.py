"""Trees of symbols, with the posterior mean by belief propagation."""
