"""The command line: the only room that knows tyro and rich.

`main`: the `raynas` command, whose subcommands have a file each; `loading`: data sets and supernets
by name, `named`: a user's own functions; `limits` and `options`: dataclasses as options; `parsing`:
arguments read, or refused in one line; `workflow`: what commands and experiments share; `terminal`:
progress and tables.
"""
