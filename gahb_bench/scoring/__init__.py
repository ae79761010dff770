"""From estimates to numbers: per-image scores, curves with intervals, exponents, identities."""
