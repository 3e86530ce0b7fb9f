"""FlowSep: extraction by generation, rectified flow matching in the latents of a VAE (Yuan et al., 2024)."""
