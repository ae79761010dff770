"""Numbers that took hours: reference tables, sampled references, tuned parameters."""
