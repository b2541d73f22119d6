"""The command line: the only room that knows tyro and rich.

`main`: the `raynas` command and its subcommands; `parsing`: their arguments, read by tyro;
`options`, `loading`, `named`, `families`, `architectures`, `blocks`, `limits`, `paths`: the data,
supernet, functions of a user, supernets of the papers, architectures, their blocks, limits and
training paths that arguments name; `named_strategies`: strategies by name; `run_options`: how a
search is run; `program`: a command and the ways it ends; `pool_file`: pools of greedy trainings;
`train`, `search`, `specialize`, `describe`, `latency`, `export`, `onnx`, `retrain`, `ledger`,
`watch`, `report`: one file per command; `torchrun`: processes that train together;
`supernet_training`, `workflow`: the steps that commands and experiments share; `comparison`:
searches side by side, `retrained_comparison`: their winners retrained; `within_costs`: searches
below the costs of given architectures; `channels`: searches of channels beside those of blocks;
`table_comparison`: searches beside networks of an accuracy table; `live`: the view of a search,
`generation_rows`: its rows, `pace`: the time that is left; `terminal`: the progress of a training,
and tables.
"""
