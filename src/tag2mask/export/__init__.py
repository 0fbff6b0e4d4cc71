"""What a segmenter and its predictions are for other programs."""
