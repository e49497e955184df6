"""Text to samples: text made ready to be spoken, and synthesizers."""
