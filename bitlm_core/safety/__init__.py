"""What is looked at before an output is handed over."""
