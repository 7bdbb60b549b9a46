"""Trainers: a folder for each large part, a file for each small command. On top of all else."""
