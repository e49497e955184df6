"""What can be wrong with settings and machine, found out without starting anything."""
