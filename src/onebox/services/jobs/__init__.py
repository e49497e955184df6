"""Jobs: work that outlives the connection it came by."""
