"""Telling people of troubles: when a message is due, and sending it."""
