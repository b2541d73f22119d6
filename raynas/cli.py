"""`raynas.commands.main` under its earlier name, for scripts that import it so."""

from raynas.commands.main import main

__all__ = ["main"]
