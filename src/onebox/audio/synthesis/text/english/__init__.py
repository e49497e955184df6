"""How English is read out: what its figures and short forms stand for, and its phonemes."""
