"""Texts to vectors: what the folder says, tokens, the pass through the model, pooling."""
