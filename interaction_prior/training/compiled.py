"""`compiled`: a step's forward pass by torch.compile, or one line that says why not."""

import os
import shutil
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from twohand500k.errors import DataError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def compiled(
    function: Callable[_Arguments, _Result], device: torch.device
) -> Callable[_Arguments, _Result]:
    """`function` by torch.compile: on a GPU as captured CUDA graphs, on a CPU through C++.

    Raises DataError where the compiler that writes the code is missing or fails.
    """
    compilers = [os.environ.get("CXX"), "g++", "clang++", "gcc", "cc", "cl"]
    if not any(name and shutil.which(name) for name in compilers):
        raise DataError(
            "--compile needs a C++ compiler (g++ or clang++, or $CXX), none is on the PATH: "
            "install one, or train without --compile"
        )
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    fast = torch.compile(function, mode=mode, dynamic=False)

    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            # A captured graph writes its results where the last step's lay: they are read by now.
            torch.compiler.cudagraph_mark_step_begin()
            return fast(*args, **kwargs)
        except Exception as error:
            if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                said = str(error).strip().splitlines()
                raise DataError(
                    f"torch.compile failed ({said[0] if said else type(error).__name__}): train "
                    "without --compile"
                ) from error
            raise

    return call
