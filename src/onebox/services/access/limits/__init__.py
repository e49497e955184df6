"""How often who may ask: rates a minute."""
