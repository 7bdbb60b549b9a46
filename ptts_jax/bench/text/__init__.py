"""How long the reading of a text takes, before anything of it is spoken."""
