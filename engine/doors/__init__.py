"""How what is a user's own comes in: words, networks of any library, all tried before use."""
