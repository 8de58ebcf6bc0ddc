"""Processes of workers: load an app, serve it, supervise, restart and stop it."""
