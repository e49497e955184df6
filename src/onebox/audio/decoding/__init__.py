"""Uploads to samples: decoded and cut at silence in a child process."""
