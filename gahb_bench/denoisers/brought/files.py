"""Files that users bring: read once, told apart by their content, never trusted.

No pickle is ever executed here: tensors are read by ``torch.load(weights_only=True)``, and archives that hold more are
taken apart and put together again from the parts that have been looked at.
"""

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError, printable

_HINTS = {
    ".pt": "paper-unet:weights={0} or paper-bf-cnn:weights={0} (research code), or torchscript:file={0}",
    ".pt2": "exported:file={0}",
    ".ts": "torchscript:file={0}",
    ".onnx": "onnx:file={0}",
}
_HINTS[".pth"] = _HINTS[".pt"]
_KINDS = {
    "tensors": "a file of torch.save (paper-unet:weights=... and paper-bf-cnn:weights=... read plain tensors)",
    "torchscript": "a TorchScript program (torchscript:file=... reads it)",
    "exported": "a program of torch.export (exported:file=... reads it)",
    "safetensors": "a safetensors file (network:weights=... reads what `train` wrote)",
    "onnx": "an ONNX model (onnx:file=... reads it)",
    "pickle": "a pickle (or torch.save's form of before 2020)",
    "archive": "a zip archive of something else",
    "damaged": "an archive that is damaged or cut short",
    "unknown": "nothing known here",
}
_SAVE = "Save torch.save(model.state_dict(), FILE)."
# What the pickles of a TorchScript file may name: its own classes, and how tensors and typed containers are built.
_PLAIN = re.compile(
    r"__torch__(?!\.torch\.classes)(\.\w+)* \w+|torch \w+Storage|torch\._utils _rebuild\w+|torch\.jit\._pickle \w+"
    r"|collections OrderedDict"
)


def refuse_bare_path(spec: str) -> None:
    """Refuse a file's name where a denoiser is named, and say how its kind of file is written.

    Raises
    ------
    UsageError
        If the text ends like a file of a network.
    """
    hint = _HINTS.get(Path(spec).suffix.lower())
    if hint and "=" not in spec:
        raise UsageError(f"{spec!r} is a file, not a denoiser: say what it holds, {hint.format(spec)}.")


def read(path: str, usage: str) -> bytes:
    """The content of a file; a relative path starts in the working folder.

    Raises
    ------
    UsageError
        If no path is given, or it cannot be read; ``usage`` says how it is given.
    """
    if not path:
        raise UsageError(f"no file is named: write {usage}.")
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the file {printable(path)}: {reason}. Write {usage}.") from None


def digest(content: bytes) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


def expect(content: bytes, path: str, *kinds: str) -> None:
    """Refuse a file that does not look like one of these kinds, and say what it looks like.

    Raises
    ------
    UsageError
        Naming the denoiser that reads what it is.
    """
    found = kind_of(content)
    if found not in kinds:
        wanted = _KINDS[kinds[0]].partition(" (")[0]
        raise UsageError(f"{path} is not {wanted}: it looks like {_KINDS[found]}.")


def kind_of(content: bytes) -> str:
    """What a file looks like: a key of the kinds above."""
    if not content.startswith(b"PK"):
        if content[8:10] == b'{"':
            return "safetensors"
        return {b"\x80": "pickle", b"\x08": "onnx"}.get(content[:1], "unknown")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return "damaged"
    if any(name.endswith(("/models/model.json", "serialized_exported_program.json")) for name in names):
        return "exported"
    if any("/code/" in name for name in names):
        return "torchscript"
    return "tensors" if any(name.endswith("/data.pkl") for name in names) else "archive"


def read_tensors(content: bytes, path: str) -> dict[str, Tensor]:
    """The tensors of a state dict that torch.save wrote, ``module.`` of DataParallel dropped from their names.

    Raises
    ------
    UsageError
        If the file is damaged, or holds anything but tensors by name.
    """
    expect(content, path, "tensors", "pickle")
    try:
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged, or a pickle that would have to be executed
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"a pickle in it would call {printable(named[1], 80)!r}" if named else "it is damaged or cut short"
        raise UsageError(
            f"{path} does not hold plain tensors: {reason}. Save the tensors alone, "
            "torch.save(model.state_dict(), FILE); pickles are never executed here."
        ) from None
    if not isinstance(held, Mapping):
        raise UsageError(f"{path} holds a {type(held).__name__}, not tensors by name. {_SAVE}")
    for name, value in held.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind, place = type(value).__name__, printable(name, 60)
            raise UsageError(f"{path} holds a {kind} under the name {place!r}, not only tensors by name. {_SAVE}")
    return {name.removeprefix("module."): value for name, value in held.items()}


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
    foreign = [name for name in named if not _PLAIN.fullmatch(name)]
    if foreign:
        raise UsageError(
            f"{path} is refused: a pickle in it would call {printable(foreign[0])!r}, and pickles are never executed "
            "here. Save the network in another way."
        )
