"""Runs scored: what they write (`scores`), what they cost (`cost`), and what the report shows (`showcase`)."""
