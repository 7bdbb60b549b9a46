"""python -m int8 report: what quantising does to a model."""
