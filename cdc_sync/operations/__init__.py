"""What a person asks: the commands and the page call these, and print what they return."""
