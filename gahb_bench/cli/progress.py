"""Progress on standard error."""


class Progress:
    """A progress bar on standard error when it is a terminal and the work takes more than two seconds."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> "Progress":
        import time

        self._began, self._bar = time.perf_counter(), None
        return self

    def __call__(self, done: int, total: int) -> None:
        import time

        from rich import progress
        from rich.console import Console

        if self._bar is None and time.perf_counter() - self._began > 2:
            console = Console(stderr=True)
            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            self._bar = progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=total, completed=done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
