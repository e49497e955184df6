"""Units that settings and stored rows are counted in."""

DAY_S = 86_400.0
