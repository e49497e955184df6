"""Drawing videos with diffusers pipelines, and decoding them a few frames at a time."""
