"""Drills: what goes wrong once a year, done on purpose through the command line, told as a story (``make drill``)."""
