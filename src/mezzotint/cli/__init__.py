"""The command `mezzotint`: flags as dataclasses, one function a command, everything drawn in one place."""
