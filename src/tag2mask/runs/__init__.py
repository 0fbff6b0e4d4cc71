"""A run folder: which stages it holds, what each was made from, and whether it still is what is asked for."""
