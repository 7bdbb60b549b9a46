"""Many listeners at once: the server under load, beside the reference's own."""
