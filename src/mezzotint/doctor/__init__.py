"""Examining a run: what has to hold of any system, ours or another's, checked on the run itself (`examine`)."""
