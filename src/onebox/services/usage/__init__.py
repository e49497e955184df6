"""What requests took: counted, charged, kept and told."""
