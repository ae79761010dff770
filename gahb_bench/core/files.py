"""Files: where the package's data and the user's are, writing without tearing, one writer a folder, errors in words."""

import errno
import hashlib
import mmap
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import filelock

from gahb_bench.core.errors import StoreError, UsageError

HOME = "GAHB_BENCH_HOME"

SET_HOME = f"Set {HOME} to a folder that can be written, with space left."

_PACKAGE = Path(__file__).parents[1]
_GIVE_OUT = (
    "Give --out a folder that can be written, with space left. What is finished is kept, and the same command goes on "
    "from it."
)


def home() -> Path:
    """The user's own folder, which need not exist: ``$GAHB_BENCH_HOME``, or ``gahb_bench`` in the user's cache folder.

    Raises
    ------
    StoreError
        If no variable names it and this user has no home directory, or it is the package's folder of data.
    """
    if named := os.environ.get(HOME):
        if Path(named).resolve().is_relative_to(data_folder().resolve()):
            raise StoreError(f"{HOME}={named} is the package's own data, which stays as it is: name another folder.")
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or _user_home() / ".cache") / "gahb_bench"
    except RuntimeError:
        raise StoreError(f"this user has no home directory: set {HOME} to a folder that can be written.") from None


def _user_home() -> Path:
    """The user's home directory; RuntimeError where there is none. An empty ``HOME`` does not stand for ``/``."""
    if os.environ.get("HOME") == "":
        raise RuntimeError
    return Path.home()


def data_folder() -> Path:
    """The folder ``datasets``: inside an installed package, or at the top of a checkout."""
    installed = _PACKAGE / "datasets"
    return installed if installed.is_dir() else _PACKAGE.parent / "datasets"


def data_file(*parts: str) -> Path:
    """A file under ``datasets``, by the parts of its path.

    Raises
    ------
    UsageError
        If there is no such file; the message lists what is there.
    """
    path = data_folder().joinpath(*parts)
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
        raise UsageError(f"there is no data file {'/'.join(parts)!r}; there are: {', '.join(there) or 'none'}.")
    return path


def read_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, or is a device or a pipe: those need have no end.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
    return path.read_bytes()


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no TOML: no text, or values within values without an end, too.
    """
    try:
        return tomllib.loads(read_file(path).decode())
    except RecursionError:
        raise ValueError("values within values, too deep to be read") from None


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is either whole or not there: temporary name, flush to disk, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_output(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write the one file that a user asked for, whole or not at all; its folder is made if need be.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. Give --out a place that can be written."
        ) from error


def refuse_unwritable(folder: Path, advice: str = _GIVE_OUT) -> None:
    """Refuse a folder that could not be made or written in; nothing is made.

    Raises
    ------
    StoreError
        Naming what is in the way.
    """
    with explain_errors(folder, advice):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{there} is read-only")


def refuse_overwriting(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder that holds files of these names, which this program did not write.

    Raises
    ------
    StoreError
        Naming them.
    """
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise StoreError(
            f"{folder} holds {', '.join(there)}, which this would overwrite, and nothing shows that it is of this "
            "program: nothing was changed. Give --out another folder, or move what is there."
        )


def refuse_replacing(path: Path, marks: Iterable[bytes], option: str = "--out") -> None:
    """Refuse to write over a file with content that has none of the marks, one of which each such file of ours has.

    Raises
    ------
    StoreError
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    with (
        explain_errors(path.parent),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        if any(content.find(mark) >= 0 for mark in marks):
            return
    raise StoreError(
        f"{path} is there already, and nothing shows that it is of this program: nothing was changed. Give {option} "
        "another name, or move what is there."
    )


@contextmanager
def lock(folder: Path, wait: float = 0, advice: str = _GIVE_OUT) -> Iterator[None]:
    """A folder, made if need be, that no other process writes while this holds it; one made in vain is removed again.

    Parameters
    ----------
    wait : float
        Seconds to wait for another process that holds it.
    advice : str
        What to do if it cannot be written, for the error.

    Raises
    ------
    StoreError
        If it cannot be made, or another process holds it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with explain_errors(folder, advice):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=wait)
        except filelock.Timeout:
            raise StoreError(
                f"{folder} is being written by another process: wait until that has finished, or choose another folder."
            ) from None
    try:
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)  # while it is held: a lock on a removed file counts for nothing
        lock.release()
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()


@contextmanager
def explain_errors(path: Path, advice: str = _GIVE_OUT) -> Iterator[None]:
    """Operating-system errors as a sentence that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write to the folder {path}: {error.strerror or error}. {advice}") from error


def content_digest(content: bytes) -> str:
    """Hash of what a file holds, 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]
