"""The commands. Each reads options, calls one function below, prints."""
