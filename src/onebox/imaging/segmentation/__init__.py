"""Cutting out: models that tell what of a picture is in the foreground, or of a label."""
