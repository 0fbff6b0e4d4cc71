"""OUT: tables and pictures of what a run measured."""
