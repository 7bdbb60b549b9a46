"""Trainers: one flat file per stage, each a command. Nothing outside of this package imports it."""
