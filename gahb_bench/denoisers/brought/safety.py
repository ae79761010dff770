"""What protects from files that users bring: nothing in them is executed but the tensor operators of a network.

Tensors are read by ``torch.load(weights_only=True)``; archives that hold more are taken apart and put together again
from the parts that were checked; pickles are read, not executed; graphs and programs are checked word by word.
"""

import argparse
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError, printable, reason_of

# What the pickles of a TorchScript file may name: its own classes, and how tensors and typed containers are built.
_PICKLED = re.compile(
    r"__torch__(?!\.torch\.classes)(\.\w+)* \w+|torch \w+Storage|torch\._utils _rebuild\w+|torch\.jit\._pickle \w+"
    r"|collections OrderedDict"
)
# What a TorchScript program may not use: operators that read or write files, other libraries' operators and classes.
_FORBIDDEN = re.compile(r"\b(save|from_file|classes)\b|\bops\s*\.\s*(?!(?:aten|prim|prims|quantized)\b)\w+")
# The forms that the texts of a graph of torch.export may have.
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|higher_order)\.(?!save\b|from_file\b)\w+(\.\w+)?|torch\.sym_\w+|math\.[a-z]\w*"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_PLAIN = re.compile(r"[\w.:+\-]*")
_VALUE = re.compile(r"[\w .,:+\-*/<>=]*")
_SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'(, \w+=(True|False))*\)")
_EXPRESSION = re.compile(
    r"([\s\d.+\-*/(),<>=]|\b([su]\d+|[A-Z][A-Za-z]+|integer|positive|evaluate|True|False)\b(?!\s*\.))*"
)
_TREE_TYPES = ("builtins.tuple", "builtins.list", "builtins.dict", None)


def load(content: bytes, path: str) -> Any:
    """What torch.save wrote: tensors, numbers, texts and their containers, and settings as an ``argparse.Namespace``.

    Raises
    ------
    UsageError
        If the file is damaged, or holds a pickle of anything else.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # attributes only: making one executes nothing
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged, or a pickle that would have to be executed
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"a pickle in it would call {printable(named[1], 80)!r}" if named else "it is damaged or cut short"
        raise UsageError(
            f"{path} does not hold plain tensors: {reason}. Save the tensors alone, "
            "torch.save(model.state_dict(), FILE); pickles are never executed here."
        ) from None


def read_safetensors(content: bytes, path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises
    ------
    UsageError
        If it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors import torch as safetensors

    try:
        return safetensors.load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a kind of number that torch has not
        raise UsageError(f"{path} is damaged or cut short: {printable(error)}.") from None


def repack(content: bytes, path: str, keep: Callable[[str, bytes], bytes | None]) -> bytes:
    """A zip archive put together afresh from the parts that ``keep(name, data)`` gives back, changed or not.

    So whoever reads it afterwards sees exactly what was looked at: a part listed twice, or hidden from one reader, is
    gone. Names are those below the archive's top folder, which becomes ``network/``.

    Raises
    ------
    UsageError
        If it is no zip archive, damaged, or lists a part twice.
    """
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as target:
            names = [name.partition("/")[2] for name in archive.namelist()]
            if len(set(names)) < len(names):
                raise UsageError(f"{path} is refused: its archive lists a part twice.")
            for full, name in zip(archive.namelist(), names, strict=True):
                kept = keep(name, archive.read(full))
                if kept is not None:
                    target.writestr(f"network/{name}", kept)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise UsageError(f"{path} is damaged or cut short: {printable(error)}.") from None
    return made.getvalue()


def check_pickle(data: bytes, path: str) -> None:
    """Refuse a pickle that names anything but tensors and TorchScript's own classes. It is read, not executed.

    Raises
    ------
    UsageError
        Naming what it would call.
    """
    try:
        named = [
            str(argument)
            for code, argument, _ in pickletools.genops(data)
            if code.name in ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
        ]
    except Exception as error:
        raise UsageError(f"{path} is damaged: a pickle in it cannot be read ({printable(error)}).") from None
    foreign = [name for name in named if not _PICKLED.fullmatch(name)]
    if foreign:
        raise UsageError(
            f"{path} is refused: a pickle in it would call {printable(foreign[0])!r}, and pickles are never executed "
            "here. Save the network in another way."
        )


def check_script(data: bytes, path: str) -> None:
    """Refuse the source of a TorchScript program that touches files, or uses operators of other libraries.

    Raises
    ------
    UsageError
        Naming what it uses.
    """
    found = _FORBIDDEN.search(data.decode("utf-8", "replace"))
    if found:
        raise UsageError(f"{path} is refused: its program uses {found[0]!r}, which a denoiser need not.")


def clean_program(data: bytes, path: str) -> dict[str, Any]:
    """The graph of a program without what is not needed to run it (stack traces, guards), every text in it checked.

    torch reads shape expressions by `sympy.sympify`, which evaluates them as Python, resolves operators by their
    dotted names, and writes names into Python source: therefore nothing but the forms above may stand there.

    Raises
    ------
    UsageError
        Naming the first text that is of another form.
    """
    try:
        program = json.loads(data)
        graph_module = program["graph_module"]
        program["guards_code"] = []
        graph_module["metadata"] = {}
        graph_module["module_call_graph"] = [call for call in graph_module["module_call_graph"] if call["fqn"] == ""]
        for node in graph_module["graph"]["nodes"]:
            node["metadata"] = {}
        harmful = next((f"{printable(text, 80)!r} as {key}" for key, text in _harmful(program, "program")), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: its graph cannot be read ({reason_of(error)}).") from None
    if harmful is not None:
        raise UsageError(f"{path} is refused: its graph holds {harmful}, and only tensor operators of torch are run.")
    return program


def _harmful(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """The texts of a JSON value that are of none of the forms above, each with the name under which it stands."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield from _harmful(name, "key")
            yield from _harmful(held, name)
    elif isinstance(value, list):
        for held in value:
            yield from _harmful(held, key)
    elif isinstance(value, str) and not _is_harmless(value, key):
        yield key, value


def _is_harmless(text: str, key: str) -> bool:
    if key in ("in_spec", "out_spec"):
        return _is_harmless_tree(json.loads(text))
    if key == "target":
        return _TARGET.fullmatch(text) is not None
    if key == "as_string":  # handed to an operator as a value
        return _VALUE.fullmatch(text) is not None
    if key == "expr_str":
        return _EXPRESSION.fullmatch(_SYMBOL.sub("s0", text)) is not None
    # The ranges of shape expressions stand under the expressions themselves.
    return _PLAIN.fullmatch(text) is not None or (key == "key" and _EXPRESSION.fullmatch(text) is not None)


def _is_harmless_tree(tree: Any) -> bool:
    """Whether the structure of inputs or outputs is made of tuples, lists and dictionaries only."""
    if isinstance(tree, list):
        return all(isinstance(part, int) or _is_harmless_tree(part) for part in tree)
    return tree["type"] in _TREE_TYPES and all(_is_harmless_tree(part) for part in tree["children_spec"])
