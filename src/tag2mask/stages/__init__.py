"""The work of each stage: from photos, settings and the folders of the stages before to the files of its own.

What a stage is, which ones a recipe asks for and whether a run folder holds them is for `runs` to say; the order in
which they are done is that of `pipeline`. Networks are trained in `training`.
"""
