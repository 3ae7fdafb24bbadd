"""The terminal interface of a supervisor. It speaks to one through `client` alone, as any other program does.

Importing textual takes a fifth of a second, so only the command that shows it imports this room.
"""
