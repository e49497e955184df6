"""Pickled weight files become safetensors, in a child process that can do nothing else."""
