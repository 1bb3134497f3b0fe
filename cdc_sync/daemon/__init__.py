"""The process that stays."""
