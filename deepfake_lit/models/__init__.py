"""The networks: plain modules that turn images (B, C, H, W) into logits (B, K)."""
