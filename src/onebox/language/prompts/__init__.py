"""Text to tokens: tokenizers, chat templates in a child process, control tokens kept apart."""
