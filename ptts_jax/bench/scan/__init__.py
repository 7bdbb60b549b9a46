"""Research on cached scans: every cache with every way to drive the step."""
