"""The file `network.py`: a network that can be read, built and trained with torch alone."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from raynas.errors import describe_error
from raynas.export.source.check import require_same_network
from raynas.export.source.definitions import Definitions
from raynas.export.source.expressions import (
    WIDTH,
    Call,
    CannotBeWrittenError,
    docstring,
    lines_of,
)
from raynas.export.source.modules import Modules
from raynas.inputs import Inputs

SOURCE = "network.py"

TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names of types in safetensors files."""

OWN_NAMES = ("TYPES", "WEIGHTS", "build_network", "load_network", "read_weights")
"""Names that every file defines."""

LOADING = '''\
def load_network(weights: str | Path = WEIGHTS) -> nn.Module:
    """The network with the weights of a safetensors file, in evaluation mode."""
    network = build_network()
    network.load_state_dict(read_weights(weights))
    return network.eval()
'''

READING = '''\
def read_weights(file: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by their names, as safetensors.torch.load_file gives."""
    content = bytearray(Path(file).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    weights = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            weights[name] = torch.empty(entry["shape"], dtype=TYPES[entry["dtype"]])
            if last > first:
                part = content[start + first : start + last]
                values = torch.frombuffer(part, dtype=weights[name].dtype)
                weights[name].copy_(values.view(entry["shape"]))
    return weights
'''


def source_bytes(
    network: nn.Module,
    inputs: Inputs,
    names: Sequence[str],
    weights: str,
    refused: dict[str, str],
) -> bytes | None:
    """A network as a Python file that was executed and seen to give its outputs.

    Args:
        network: a subnet in evaluation mode, on the CPU.
        inputs: the shape and type of one sample.
        names: of the choices of its blocks; none if they are not known.
        weights: the name of the file of its weights.
        refused: receives the reason if there is none.
    """
    try:
        source = network_source(network, inputs, names, weights)
        require_same_network(source, SOURCE, network, inputs)
    except CannotBeWrittenError as error:
        refused[SOURCE] = str(error)
        return None
    # The code of a user's modules, taken out of its file, may raise anything.
    except Exception as error:
        refused[SOURCE] = describe_error(error)
        return None
    return source.encode()


def network_source(network: nn.Module, inputs: Inputs, names: Sequence[str], weights: str) -> str:
    """The text of the file.

    Raises:
        CannotBeWrittenError: no source can stand for one of its modules.
    """
    require_own_tensors(network)
    parts = parts_of(network, names)
    taken: dict[str, object] = dict.fromkeys((*OWN_NAMES, *parts), SOURCE)
    taken |= {"torch": torch, "nn": nn, "json": json, "Path": Path}
    definitions = Definitions(taken)
    modules = Modules(definitions)
    functions = [part_source(name, *part, modules) for name, part in parts.items()]
    sources = [
        *definitions.pieces.values(),
        *(kind.source() for kind in modules.kinds.values()),
        *functions,
        building(network, list(parts), list(modules.undrawn)),
        LOADING,
        READING,
    ]
    head = [heading(inputs, names, weights), imports(definitions.imports)]
    head += [f'WEIGHTS = Path(__file__).with_name("{weights}")\n', types_of(network)]
    return "\n".join(head) + "\n\n" + "\n\n".join(sources)


def require_own_tensors(network: nn.Module) -> None:
    """See that no tensor has two names: each would be another one in the network of the file.

    Attributes that are tensors count: a view of a weight follows it, and a copy would not.

    Raises:
        CannotBeWrittenError: one that has, by both.
    """
    met: dict[int, str] = {}
    parameters = network.named_parameters(remove_duplicate=False)
    buffers = network.named_buffers(remove_duplicate=False)
    plain = [
        (f"{place}.{name}".removeprefix("."), value)
        for place, module in network.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    for name, tensor in (*parameters, *buffers, *plain):
        if tensor.numel():
            first = met.setdefault(tensor.untyped_storage().data_ptr(), name)
            if first != name:
                raise CannotBeWrittenError(f"{first} and {name} share their memory")


def parts_of(network: nn.Module, names: Sequence[str]) -> dict[str, tuple[str, nn.Module]]:
    """The functions that make the parts of a network: their names, titles and modules."""
    if type(network) is not nn.Sequential or len(network) < 2:
        return {"network": ("The network", network)}
    stem, *blocks, head = network
    named = [f": {name}" for name in names] if len(names) == len(blocks) else [""] * len(blocks)
    parts = {f"block_{index}": (f"Block {index}{named[index]}", block)
             for index, block in enumerate(blocks)}  # fmt: skip
    return {"stem": ("The stem", stem), **parts, "head": ("The head", head)}


def part_source(name: str, title: str, part: nn.Module, modules: Modules) -> str:
    """The function that makes a part of a network.

    Raises:
        CannotBeWrittenError: no source can stand for it; it is named.
    """
    try:
        call = modules.call(part)
    except CannotBeWrittenError as error:
        raise CannotBeWrittenError(f"in {title[:1].lower()}{title[1:]}, {error}") from error
    first = [f"def {name}() -> nn.Module:", *docstring(f"{title}.", 4)]
    return "\n".join([*first, *lines_of(call, "return ", "", 4)]) + "\n"


def building(network: nn.Module, parts: Sequence[str], undrawn: Sequence[str]) -> str:
    """The function that makes the whole network; it says whose weights torch does not draw."""
    call = Call("nn.Sequential", tuple(("", f"{name}()") for name in parts))
    made = call if type(network) is nn.Sequential and len(network) > 1 else f"{parts[0]}()"
    first = ["def build_network() -> nn.Module:"]
    told = "The network with fresh weights, as torch draws them."
    if undrawn:
        told += (
            f" Those that {' and '.join(undrawn)} have beside torch's layers are not drawn: small "
            "ones are those of the search, others zeros. Draw them before training from scratch."
        )
    first += docstring(told, 4)
    return "\n".join([*first, *lines_of(made, "return ", "", 4)]) + "\n"


def heading(inputs: Inputs, names: Sequence[str], weights: str) -> str:
    """The docstring of the file."""
    chosen = f": {' '.join(names)}" if names else ""
    title = textwrap.fill(
        f'"""A network that raynas found, which needs torch alone{chosen}.', WIDTH
    )
    samples = f"{inputs.dtype} `[n, {', '.join(map(str, inputs.shape))}]`"
    told = (
        f"Samples are {samples}. The weights have the same names as in {weights}: their first "
        "number counts the parts of the network, from 0, in the order of `build_network`."
    )
    return f'''{title}

    network = load_network()  # with the weights of {weights} beside this file
    network = build_network()  # to be trained from scratch

{textwrap.fill(told, WIDTH)}
"""

from __future__ import annotations
'''


def imports(lines: Collection[str]) -> str:
    """The imports of the file, those of Python first, with one line for each module."""
    every = {*lines, "import json", "from pathlib import Path", "import torch"}
    every.add("from torch import nn")
    whole = sorted(line for line in every if line.startswith("import "))
    parts: dict[str, set[str]] = {}
    for line in every - set(whole):
        home, name = line.removeprefix("from ").split(" import ")
        parts.setdefault(home, set()).add(name)
    froms = [f"from {home} import {', '.join(sorted(parts[home]))}" for home in sorted(parts)]
    own = [line for line in (*whole, *froms) if line.split()[1].partition(".")[0] == "torch"]
    python = [line for line in (*whole, *froms) if line not in own]
    return "\n".join([*python, "", *own]) + "\n"


def types_of(network: nn.Module) -> str:
    """The types of the file of weights that the network has."""
    values = network.state_dict().values()
    kinds = {value.dtype for value in values if isinstance(value, Tensor)}
    listed = [f'"{name}": {kind}' for kind, name in TYPES.items() if kind in kinds]
    return f"TYPES = {{{', '.join(listed)}}}\n"
