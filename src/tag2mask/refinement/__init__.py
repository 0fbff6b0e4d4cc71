"""Maps on which classes are sharper, from the photo and from relations between its pixels."""
