"""What every verb needs of a server: keys, scripts, and how values are stored."""
