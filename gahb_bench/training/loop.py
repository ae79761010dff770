"""The loop: from a law and an architecture to weights near the optimum."""

from collections.abc import Callable
from pathlib import Path

from gahb_bench.core.errors import StoreError
from gahb_bench.training import processes
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.settings import Settings
from gahb_bench.training.trainer import Progress, Trainer


def fit(
    settings: Settings,
    folder: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    compiled: bool = False,
    tensorboard: bool = False,
    save_seconds: float = 60.0,
    progress: Callable[[Progress], object] = lambda _: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a network on a law and keep it in a folder.

        loss = mean of |D(x + s z, s) - x|^2 / (pixels mmse(s)),  log s uniform

    so that every noise level counts equally in dB; an optimum below ``1e-3 s^2`` counts as that, and without a known
    one ``mmse(s)`` is that of a white Gaussian law, ``s^2 t^2 / (s^2 + t^2)``. Adam, a cosine, and a running average
    of the weights, which is what is kept. Under ``torchrun`` the processes share each global batch.

    Parameters
    ----------
    settings : Settings
    folder : Path
        Where the weights, the log and the state to go on from are kept (see `gahb_bench.training.folder`).
    device : str
    resume : bool
        Go on from the folder's state, with the numbers an uninterrupted training would have had (bitwise so on a CPU
        with the same number of threads); false begins again.
    compiled : bool
        Compile the network.
    tensorboard : bool
        Also write the log as events for TensorBoard, which must be installed.
    save_seconds : float
        How often the state is saved, beside every validation.
    progress : callable
    pause : callable
        Asked every few steps; where it says so, the state is saved and the training pauses.

    Returns
    -------
    Path
        The file of the best weights.

    Raises
    ------
    StoreError
        If the folder holds another training, or cannot be written.
    DenoiserError
        If the loss becomes NaN or infinite.
    MissingPackageError
        If TensorBoard is asked for and not installed.
    PausedError
        If it pauses before the last step.
    """
    rank, count = processes.rank(), processes.count()
    with TrainingFolder(folder, settings, main=rank == 0, tensorboard=tensorboard).lock(not resume) as store:
        training = Trainer(settings, store, device, rank, count)
        try:
            if resume:
                training.restore()
            else:
                store.forget()
            training.run(compiled, save_seconds, progress, pause)
        finally:
            training.batches.close()
    if rank == 0 and not store.best.exists():
        raise StoreError(f"the training in {folder} is finished, but {store.best.name} is gone: use --no-resume.")
    return store.best
