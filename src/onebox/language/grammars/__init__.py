"""Answers of a given form: which JSON schemas are taken, and what binds a model to them."""
