"""Our parameters of FlowSep's networks -> their keys in the published checkpoint."""

from __future__ import annotations

import re

from soundsieve.systems.flowsep.unet import FlowUNetConfig
from soundsieve.systems.flowsep.vae import VAEConfig

_IN_VAE = {
    "to_moments": "quant_conv",
    "from_latent": "post_quant_conv",
    "middle.first": "mid.block_1",
    "middle.attention.out": "mid.attn_1.proj_out",
    "middle.attention": "mid.attn_1",
    "middle.last": "mid.block_2",
    "stem": "conv_in",
    "skip": "nin_shortcut",
}
_IN_TRANSFORMER = {"attention1": "attn1", "attention2": "attn2", "mlp.proj": "ff.net.0.proj", "mlp.out": "ff.net.2"}
_IN_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}


def text_key(name: str) -> str:
    return "cond_stage_models.0.model." + re.sub(r"^words\.", "shared.", name)


def vae_key(name: str, config: VAEConfig | None = None) -> str:
    last = len((config or VAEConfig.base()).multipliers) - 1
    for ours, theirs in _IN_VAE.items():
        name = re.sub(rf"(^|\.){re.escape(ours)}\.", rf"\g<1>{theirs}.", name)
    name = re.sub(r"^(encoder|decoder)\.norm\.", r"\1.norm_out.", name)
    name = re.sub(r"^(encoder|decoder)\.out\.", r"\1.conv_out.", name)
    name = re.sub(r"^encoder\.levels\.", "encoder.down.", name)
    name = re.sub(r"^decoder\.levels\.(\d+)", lambda m: f"decoder.up.{last - int(m[1])}", name)
    name = name.replace(".blocks.", ".block.")
    resample = "downsample" if name.startswith("encoder") else "upsample"
    return "first_stage_model." + name.replace(".resample.", f".{resample}.conv.")


def unet_key(name: str, config: FlowUNetConfig | None = None) -> str:
    config = config or FlowUNetConfig.base()
    stride = config.blocks + 1
    name = re.sub(r"^time\.hidden\.", "time_embed.0.", name)
    name = re.sub(r"^time\.out\.", "time_embed.2.", name)
    name = re.sub(r"^stem\.", "input_blocks.0.0.", name)
    name = re.sub(r"^norm\.", "out.0.", name)
    name = re.sub(r"^out\.(weight|bias)$", r"out.2.\1", name)
    name = re.sub(r"^middle_block\.(?!\d)", "middle_block.3.block.", name)
    name = re.sub(r"^middle\.", "middle_block.", name)
    name = re.sub(r"^down\.(\d+)\.stages\.(\d+)", lambda m: f"input_blocks.{1 + int(m[1]) * stride + int(m[2])}", name)
    name = re.sub(r"^down\.(\d+)\.resample", lambda m: f"input_blocks.{(int(m[1]) + 1) * stride}.0.op", name)
    name = re.sub(r"^up\.(\d+)\.stages\.(\d+)", lambda m: f"output_blocks.{int(m[1]) * stride + int(m[2])}", name)
    place = {j: 3 if attends else 1 for j, attends in enumerate(config.attention[::-1])}
    name = re.sub(
        r"^up\.(\d+)\.resample",
        lambda m: f"output_blocks.{int(m[1]) * stride + config.blocks}.{place[int(m[1])]}.conv",
        name,
    )
    head, found, tail = re.fullmatch(r"(.*?)(?:\.(block|alone|reading)\.(.*))?", name).groups()
    if found == "block":
        layer, what = tail.rsplit(".", 1)
        position = "" if head == "middle_block.3" else ".0"
        name = f"{head}{position}.{_IN_BLOCK[layer]}.{what}"
    elif found:
        for ours, theirs in _IN_TRANSFORMER.items():
            tail = re.sub(rf"^{re.escape(ours)}\.", f"{theirs}.", tail)
        tail = re.sub(r"^(attn\d)\.([qkv])\.", r"\1.to_\2.", tail)
        tail = re.sub(r"^(attn\d)\.out\.", r"\1.to_out.0.", tail)
        inside = "" if re.match(r"(norm|proj_in|proj_out)\.", tail) else "transformer_blocks.0."
        name = f"{head}.{1 if found == 'alone' else 2}.{inside}{tail}"
    return "model.diffusion_model." + name


def averaged_key(key: str) -> str:
    """A parameter of the published UNet -> its moving average, which is what sampling uses."""
    return "model_ema." + key.removeprefix("model.").replace(".", "")
