"""A network as a Python module that needs torch alone, for reading, fine-tuning and retraining.

`page`: the whole file; `modules`: modules as calls that make them, and the classes that they need;
`layers`: torch's own layers as calls; `lifting`: the methods of a class as they are written;
`definitions`: imports, functions and constants that those methods use; `running_code`: texts,
compared with the code that runs; `expressions`: values as Python, and lines of at most 100 columns;
`stand_ins`: plain forms of this library's own classes; `check`: the file, executed and compared
with the network.
"""

from raynas.export.source.page import SOURCE, source_bytes

__all__ = ["SOURCE", "source_bytes"]
