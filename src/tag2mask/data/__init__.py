"""IN: images and their tags, whatever the data set, as one list of records."""
