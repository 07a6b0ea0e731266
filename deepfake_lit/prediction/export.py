"""A checkpoint as one ONNX file: pixels in, probabilities out, with the preprocessing inside."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_lit.core.errors import UserError, check_finite
from deepfake_lit.core.files import atomic, check_writable
from deepfake_lit.prediction.trained import Trained, load_trained


class Deployed(nn.Module):
    """uint8 (B, H, W, 3), or (B, H, W, 4) for channel mode rgba, to float32 (B, K) probabilities."""

    def __init__(self, trained: Trained):
        super().__init__()
        self.net, self.preprocess = trained.net, trained.preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        transparency = 255 - pixels[..., 3] if pixels.shape[-1] == 4 else None
        return torch.softmax(self.net(self.preprocess(pixels[..., :3], transparency)), 1)


def export(checkpoint: Path, output: Path) -> float:
    """Write the file, run it, and compare with the network it came from.

    The input `pixels` has any batch size and the height and width of the training images; the output is
    `probabilities`. Class names are stored in the file's metadata.

    Returns:
        The largest difference of a probability between ONNX Runtime and torch, on noise.

    Raises:
        UserError: the checkpoint cannot be read, or the packages of the extra `export` are not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx imports it late and fails less clearly)
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; install deepfake-lit[export]") from None
    trained = load_trained(checkpoint)
    planes = 4 if trained.preprocess.channels == "rgba" else 3
    noise = np.random.default_rng(0).integers(0, 256, (3, *trained.image_size, planes), np.uint8)
    model = Deployed(trained).eval()
    check_writable(output.parent)
    program = torch.onnx.export(
        model,
        (torch.from_numpy(noise),),
        input_names=["pixels"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"class_names": ",".join(trained.class_names)})
    with atomic(output, "wb") as file:
        file.write(proto.SerializeToString())

    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (noise, noise[:1]):
        (ours,) = session.run(None, {"pixels": batch})
        with torch.inference_mode():
            expected = model(torch.from_numpy(batch))
        check_finite(expected, trained.path)
        worst = max(worst, float(np.abs(ours - expected.numpy()).max()))
    return worst
