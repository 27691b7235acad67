"""Recipes: one file a system, one function a size, each stating what to expect."""
