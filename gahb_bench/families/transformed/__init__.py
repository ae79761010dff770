"""Laws made of another law by an orthogonal map, with all that is known of the inner one."""
