"""Programs of torch.export that users bring."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.errors import DenoiserError, UsageError, printable, reason_of
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought import files
from gahb_bench.denoisers.brought.foreign import Foreign, check_fixed

_MODEL = "models/model.json"
_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
)
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


class Exported(Foreign):
    """A network as a program of ``torch.export.save`` (``.pt2``).

        x_hat = net(y, sigma_scale sigma)

    torch itself executes pickles and expressions that such a file holds; so only the graph and the raw tensors are
    given to it, after every text in the graph was found to be a plain name, an operator of torch without side effects,
    or arithmetic. Export with a variable number of images.
    """

    name: ClassVar = "exported"
    source: ClassVar = "torch.export"

    file: str = Field("", description="the .pt2 file")

    _network: Any = PrivateAttr()
    _shapes: list[tuple[int | None, ...]] = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.file, "exported:file=FILE")
        files.expect(content, self.file, "exported")
        checked = files.repack(content, self.file, self._keep)
        try:
            program = torch.export.load(io.BytesIO(checked))
            self._shapes = _input_shapes(program)
            self._network = program.module()
        except Exception as error:
            raise UsageError(
                f"torch {torch.__version__} cannot load {self.file}: {reason_of(error)}. Save it again with this torch."
            ) from None
        self._digest = files.digest(content)

    def _keep(self, name: str, data: bytes) -> bytes | None:
        """What of the archive is loaded: the graph and raw tensors; no samples of the inputs, which are pickled."""
        if name == _MODEL:
            return json.dumps(clean_program(data, self.file)).encode()
        if name == "data/sample_inputs/model.pt":
            return b""
        if _KEPT.fullmatch(name):
            return data
        if name.startswith(("extra/", "data/sample_inputs/")):
            return None
        raise UsageError(
            f"{self.file} is refused: it holds {printable(name)}, which is neither a graph nor a plain tensor. Save it "
            "with torch.export.save of torch >= 2.9."
        )

    def run(self, y: Images, *sigma: Tensor) -> Any:
        if len(self._shapes) != 1 + len(sigma):
            raise DenoiserError(f"{self.spec} takes {len(self._shapes)} inputs: give blind=true if it takes y only.")
        check_fixed(self._shapes[0], y, self.spec)
        return self._network.to(y.device)(*(value.float() for value in (y, *sigma)))


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


def _input_shapes(program: torch.export.ExportedProgram) -> list[tuple[int | None, ...]]:
    """The shape of each input, None where it may vary."""
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [tuple(s if isinstance(s, int) else None for s in values[name].shape) for name in names]
