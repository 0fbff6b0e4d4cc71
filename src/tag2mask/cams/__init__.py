"""From a trained classifier to class activation maps on disk."""
