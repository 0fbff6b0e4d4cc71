"""How networks learn: one method, one file."""
