"""The verbs of the Store protocol on SQLite, a module for each group."""
