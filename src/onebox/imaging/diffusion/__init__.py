"""Drawing with diffusers pipelines: one loaded copy of the weights, a view of it for each call."""
