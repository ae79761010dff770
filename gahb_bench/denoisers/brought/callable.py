"""Python callables that users bring, with options."""

from typing import ClassVar

from pydantic import Field

from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.denoisers.brought.user import PythonDenoiser, is_path, load, refuse_other_forms


class CallableDenoiser(PythonDenoiser):
    """A Python callable named ``module:callable``, or a torch.nn.Module, with options of how it is called.

        x_hat = call(y, sigma)

    Written without options, ``module:callable`` alone is the same. Sigma is a float where all images share it,
    otherwise a tensor ``(n,)``; a module is put in evaluation mode for the call.
    """

    name: ClassVar = "callable"
    source: ClassVar = "the user"

    path: str = Field("", description="module:callable on the Python path, in parentheses")

    def model_post_init(self, context: object) -> None:
        del context
        refuse_other_forms(self.path)
        if not is_path(self.path):
            raise UsageError(
                f"path={self.path!r} names no callable: write callable:path=(module:name), with parentheses."
            )
        self._call = load(self.path, self._seen)
        if isinstance(self._call, Denoiser):
            raise UsageError(f"{self.path} is a Denoiser already: name it without options, {self.path}.")
        if isinstance(self._call, type) or not callable(self._call):
            raise UsageError(f"{self.path} is not a callable (y, sigma) -> x_hat; name a function or an instance.")

    @property
    def importable(self) -> str:
        return self.path
