"""The work of each stage: from photos, settings and the folders of the stages before to the files of its own."""
