"""A package whose modules define tasks without an app."""
