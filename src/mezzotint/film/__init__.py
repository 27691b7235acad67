"""Drafts kept as a film for others: one page complete in itself, or a moving picture."""
