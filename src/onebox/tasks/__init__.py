"""What a client can ask. One file a task; torch only inside functions."""
