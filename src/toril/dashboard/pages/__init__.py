"""One module for each page: what it answers, and how that is read."""
