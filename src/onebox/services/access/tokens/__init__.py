"""JSON Web Tokens, and whose signature they may bear."""
