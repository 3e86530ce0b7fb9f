"""Captions that stand in for a clip's own: written, embedded once, and retrieved by the clip's sound."""
