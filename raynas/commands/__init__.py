"""The command line: the only room that knows tyro and rich.

`main`: the `raynas` command and its subcommands; `ledger`: listing, exporting and verifying scores;
`workflow`: what commands and experiments share; `terminal`: progress and tables.
"""
