"""The speed of both engines in turns on one machine."""
