"""Keys that are made at run time, and the one that the first start makes."""
