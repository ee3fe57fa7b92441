"""Studies: which optimizer, with which settings, answered by runs and their statistics."""
