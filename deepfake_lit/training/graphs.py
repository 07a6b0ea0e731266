"""CUDA graphs: one start in place of one per operation, where a GPU waits for the starts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # calls before the recording: compilers, libraries and the allocator do their first work in them


def recorded(function: Callable[..., Any], *inputs: Tensor) -> Callable[..., Any]:
    """Record what a function starts on the GPU, and return a function that starts the same in one call.

    Args:
        function: takes tensors like `inputs` and starts the same operations at every call, on tensors that stay where
            they are. It asks nothing of the GPU. What it returns lies in memory that the next call overwrites.
    """
    held = [tensor.clone() for tensor in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function(*held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads, of loaders, may use the GPU
        outputs = function(*held)

    def replay(*given: Tensor) -> Any:
        for place, tensor in zip(held, given, strict=True):
            place.copy_(tensor, non_blocking=True)
        graph.replay()
        return outputs

    return replay
