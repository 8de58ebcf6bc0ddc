"""The boundary: the Store protocol, and the stores behind it."""
