"""Many lines: side by side against one by one, and by several processes."""
