"""Python callables that users bring, with options."""

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought.base import AdaptedNetwork
from gahb_bench.denoisers.brought.user import UserDenoiser


class CallableDenoiser(AdaptedNetwork):
    """A Python callable named ``module:callable``, or a torch.nn.Module, with options of how it is called.

        x_hat = call(y, sigma_scale sigma)

    Written without options, ``module:callable`` alone is the same. Sigma is a float where all images share it,
    otherwise a tensor ``(n,)``; a module is put in evaluation mode for the call.
    """

    name: ClassVar = "callable"
    source: ClassVar = "the user"

    path: str = Field("", description="module:callable on the Python path, in parentheses")

    _user: Any = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        if not UserDenoiser.is_path(self.path):
            raise UsageError(
                f"path={self.path!r} names no callable: write callable:path=(module:name), with parentheses."
            )
        self._user = UserDenoiser.load(self.path)
        if not isinstance(self._user, UserDenoiser):
            raise UsageError(f"{self.path} is a Denoiser already: name it without options, {self.path}.")

    @property
    def own_facts(self) -> Facts:
        return replace(self._user.facts, fitted=None)

    def run(self, y: Images, *sigma: Tensor) -> Any:
        return self._user.call(y, *sigma)
