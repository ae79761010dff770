"""Files that users bring: read once, told apart by their content. What they hold is not trusted: see `safety`."""

import io
import json
import zipfile
from pathlib import Path

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.files import content_digest, read_file

_HINTS = {
    ".pt": "paper-unet:weights={0}, paper-bf-cnn:weights={0} or paper-bias-free:weights={0} (research code), or "
    "torchscript:file={0}",
    ".pt2": "exported:file={0}",
    ".ts": "torchscript:file={0}",
    ".onnx": "onnx:file={0}",
}
_HINTS[".pth"] = _HINTS[".pt"]
_ID = ".data/serialization_id"
_KINDS = {
    "tensors": "a file of torch.save (paper-unet:, paper-bf-cnn: and paper-bias-free:weights=... read research code's)",
    "torchscript": "a TorchScript program (torchscript:file=... reads it)",
    "exported": "a program of torch.export (exported:file=... reads it)",
    "safetensors": "a safetensors file (network:weights=... reads what `train` wrote)",
    "onnx": "an ONNX model (onnx:file=... reads it)",
    "pickle": "a pickle (or torch.save's form of before 2020)",
    "archive": "a zip archive of something else",
    "damaged": "an archive that is damaged or cut short",
    "unknown": "nothing known here",
}


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
        return read_file(Path(path).expanduser())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the file {printable(path)}: {reason}. Write {usage}.") from None


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


def digest(content: bytes) -> str:
    """Hash of what a file holds; of an archive, of its parts, whose names and whose id say nothing of the network.

    The folder in an archive of torch's is named after the file, and its id is a sum over all that was in it, sample
    inputs and positions in the source too.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [(name.partition("/")[2], archive.read(name)) for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError):
        return content_digest(content)
    return content_digest(json.dumps([(name, content_digest(data)) for name, data in parts if name != _ID]).encode())


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
