"""Results to bytes. One file a media type."""
