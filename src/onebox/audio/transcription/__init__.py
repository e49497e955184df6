"""Samples to text: transcribers, and what they and the task say to each other."""
