"""The demo: flash cards whose pictures are shrunk, checked and stored by jobs.

A small application that uses toril as anybody's would: through `from toril import …` alone.
"""
