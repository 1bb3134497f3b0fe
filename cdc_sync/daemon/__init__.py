"""The long-running process: its threads, schedule, reload, and systemd."""
