"""Texts written from sources: candidates and the choice among them, and how good they are."""
