"""How the requests of one bundle share the device."""
