"""The command line: the only room that knows tyro and rich.

`main`: the `raynas` command and its subcommands; `parsing`: their arguments, read by tyro;
`options`, `loading`, `named`, `limits`: the data, supernet, functions of a user and limits that
arguments name; `train`, `search`, `describe`, `export`, `ledger`: one file per command; `workflow`:
the steps that commands and experiments share; `terminal`: progress and tables.
"""
