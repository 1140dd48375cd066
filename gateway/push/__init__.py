"""Waking apps: the push port, its drivers (one file each), and what is known of how each app is woken."""
