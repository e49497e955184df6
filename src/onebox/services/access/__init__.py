"""Who may send what: keys, tokens, rates, and what they used."""
