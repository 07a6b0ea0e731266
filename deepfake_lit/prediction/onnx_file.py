"""A checkpoint as one ONNX file: pixels in, probabilities out, with the preprocessing inside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.data.views import apply_view, check_places
from deepfake_lit.prediction import calibration
from deepfake_lit.prediction.calibration import LEAST, Calibration
from deepfake_lit.prediction.trained import Trained


class Deployed(nn.Module):
    """uint8 (B, H, W, 3), or (B, H, W, 4) for channel mode rgba, to float32 (B, K) probabilities.

    A calibration is inside: the probabilities are then the mean over its views, calibrated.
    """

    def __init__(self, trained: Trained):
        super().__init__()
        self.net, self.preprocess, self.views = trained.net, trained.preprocess, ["identity"]
        self.scale = self.bias = None
        if entry := trained.meta.get(calibration.ENTRY):
            found = Calibration.from_entry(entry, trained.path, len(trained.class_names))
            check_places(found.views, False)
            self.views, self.scale, self.bias = found.views, *map(torch.from_numpy, (found.scale, found.bias))

    def forward(self, pixels: Tensor) -> Tensor:
        transparency = 255 - pixels[..., 3] if pixels.shape[-1] == 4 else None
        images = self.preprocess(pixels[..., :3], transparency)
        p = sum(torch.softmax(self.net(apply_view(view, images)), 1) for view in self.views) / len(self.views)
        if self.scale is None:
            return p
        return torch.softmax(self.scale * torch.log(p.double().clamp_min(LEAST)) + self.bias, 1).float()


def write_onnx(trained: Trained, card: dict[str, Any], output: Path) -> Any:
    """Write the file.

    The input `pixels` has any batch size and the height and width of the training images; the output is
    `probabilities`. The file's metadata hold `class_names`, and as JSON `input`, `card`, and of a calibrated network
    `calibration`: `set_above`, the least probability of a class in a prediction set, `coverage` and `views`.

    Returns:
        A function of pixels, a uint8 array, that gives the file's probabilities.

    Raises:
        UserError: the packages of the extra `export` are not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx imports it late and fails less clearly)
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; install deepfake-lit[export]") from None
    pixels = noise_for(trained, 3)
    program = torch.onnx.export(
        Deployed(trained).eval(),
        (torch.from_numpy(pixels),),
        input_names=["pixels"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    takes = {"name": "pixels", "type": "uint8", "shape": ["batch", *pixels.shape[1:]], "fit": card["fit"]}
    properties = {"class_names": ",".join(trained.class_names), "input": json.dumps(takes), "card": json.dumps(card)}
    if entry := trained.meta.get(calibration.ENTRY):
        properties["calibration"] = json.dumps({key: entry[key] for key in ("set_above", "coverage", "views")})
    onnx.helper.set_model_props(proto, properties)
    with atomic(output, "wb") as file:
        file.write(proto.SerializeToString())
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"pixels": batch})[0]


def noise_for(trained: Trained, count: int) -> np.ndarray:
    """Return images of noise, uint8 (N, H, W, 3 or 4), as the network takes them."""
    planes = 4 if trained.preprocess.channels == "rgba" else 3
    return np.random.default_rng(0).integers(0, 256, (count, *trained.image_size, planes), np.uint8)
