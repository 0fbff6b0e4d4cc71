"""How networks learn: one file per method."""
