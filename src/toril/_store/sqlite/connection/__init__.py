"""The database file: its checks, connections, locks, threads and transactions."""
