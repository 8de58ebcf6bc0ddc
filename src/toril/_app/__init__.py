"""The app and its queues, flows and diagnostics: what the surfaces import."""
