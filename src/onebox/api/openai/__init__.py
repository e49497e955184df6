"""Routes that unchanged OpenAI clients use."""
