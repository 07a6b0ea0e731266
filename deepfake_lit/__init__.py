"""Which generator made this image, and which of my ablations is real.

Importing this package is cheap on purpose: `deepfake-lit --help` and the decoding workers of the image cache
start without torch.
"""

__version__ = "0.1.0"
