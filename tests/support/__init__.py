"""What tests share: real servers, processes, rows."""
