"""Image checkpoints of one file in the layout of their first authors."""
