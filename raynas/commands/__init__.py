"""The command line: the only room that knows tyro and rich.

`main`: the `raynas` command and its subcommands; `options`, `loading`, `limits`: the data, supernet
and limits that options name; `train`, `search`, `describe`, `export`, `ledger`: one file per
command; `workflow`: the steps that commands and experiments share; `terminal`: progress and tables.
"""
