"""A run folder: which stages it holds, what each was made from, and whether it still is what is asked for.

How the files of a stage are made is for `stages` to say.
"""
