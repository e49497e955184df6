"""Text made ready to be spoken: cleaned, cut into sentences, written out, and as phonemes."""
