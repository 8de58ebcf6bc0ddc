"""The verbs of the Store protocol on Redis, a module for each group."""
