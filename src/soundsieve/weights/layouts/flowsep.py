"""FlowSep's published files: their entries to the names of `soundsieve.systems.flowsep.flowsep.FlowSep`.

``v2_100k.ckpt`` holds 3262 entries under ``state_dict``: the UNet twice, as trained behind ``model.diffusion_model.``
and averaged over training behind ``model_ema.`` (each name without its points), the VAE behind ``first_stage_model.``,
the vocoder behind ``first_stage_model.vocoder.``, the encoder of FLAN-T5-large behind ``cond_stage_models.0.model.``,
and ``scale_factor``. The released inference uses the average, and so do we: of the UNet as trained nothing is read. Not
used either: the VAE's training loss, the diffusion's schedule, and a second name of T5's words. The vocoder's filters
are computed here.

``vae.ckpt`` is the part behind ``first_stage_model.``, by the same names without that; ``g_01000000`` holds the vocoder
under ``generator``, each weight as the direction v and the length g of weight norm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from soundsieve.encoders.t5 import T5Config
from soundsieve.errors import WeightsError
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.snake import lowpass
from soundsieve.systems.flowsep.unet import FlowUNetConfig
from soundsieve.systems.flowsep.vae import VAE, VAEConfig
from soundsieve.weights.layouts.account import Rules, check_constants, check_equal, check_names, rename, taken

UNET, AVERAGE = "model.diffusion_model.", "model_ema."
VAE_PART, VOCODER, TEXT = "first_stage_model.", "vocoder.", "cond_stage_models.0.model."
_WORDS, _WORDS_AGAIN = TEXT + "shared.weight", TEXT + "encoder.embed_tokens.weight"

_IN_UNET: Rules = (
    (r"^time\.hidden\.", "time_embed.0."),
    (r"^time\.out\.", "time_embed.2."),
    (r"^stem\.", "input_blocks.0.0."),
    (r"^norm\.", "out.0."),
    (r"^out\.(weight|bias)$", r"out.2.\1"),
    # The middle counts through: our stage is its 0 to 2 (a block, two transformers), the block after that its 3.
    (r"^middle_block\.", "middle.3.block."),
    (r"^middle\.", "middle_block."),
    (r"\.block\.norm1\.", ".0.in_layers.0."),
    (r"\.block\.conv1\.", ".0.in_layers.2."),
    (r"\.block\.time\.", ".0.emb_layers.1."),
    (r"\.block\.norm2\.", ".0.out_layers.0."),
    (r"\.block\.conv2\.", ".0.out_layers.3."),
    (r"\.block\.skip\.", ".0.skip_connection."),
    (r"^middle_block\.3\.0\.", "middle_block.3."),  # and no stage
    (r"\.norm([123])\.", r".transformer_blocks.0.norm\1."),
    (r"\.attention([12])\.([qkv])\.", r".transformer_blocks.0.attn\1.to_\2."),
    (r"\.attention([12])\.out\.", r".transformer_blocks.0.attn\1.to_out.0."),
    (r"\.mlp\.proj\.", ".transformer_blocks.0.ff.net.0.proj."),
    (r"\.mlp\.out\.", ".transformer_blocks.0.ff.net.2."),
    (r"\.alone\.", ".1."),
    (r"\.reading\.", ".2."),
)
_IN_VAE: Rules = (
    (r"^to_moments\.", "quant_conv."),
    (r"^from_latent\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.stem\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.norm\.", r"\1.norm_out."),
    (r"^(encoder|decoder)\.out\.", r"\1.conv_out."),
    (r"\.middle\.first\.", ".mid.block_1."),
    (r"\.middle\.attention\.out\.", ".mid.attn_1.proj_out."),
    (r"\.middle\.attention\.", ".mid.attn_1."),
    (r"\.middle\.last\.", ".mid.block_2."),
    (r"\.blocks\.", ".block."),
    (r"\.skip\.", ".nin_shortcut."),
    (r"^encoder\.levels\.(.+)\.resample\.", r"encoder.levels.\1.downsample.conv."),
    (r"^decoder\.levels\.(.+)\.resample\.", r"decoder.levels.\1.upsample.conv."),
    (r"^encoder\.levels\.", "encoder.down."),
)
_IN_VOCODER: Rules = (
    (r"^stem\.", "conv_pre."),
    (r"^out\.", "conv_post."),
    (r"^act\.", "activation_post.act."),
    (r"^stages\.(\d+)\.up\.", r"ups.\1.0."),
)
_SCHEDULE = (
    "logvar",
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
_COUNTS = (AVERAGE + "decay", AVERAGE + "num_updates")
_VGG16 = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}
"""Convolutions of the perceptual loss's network, by the slice that they belong to."""


def unet_key(name: str, config: FlowUNetConfig) -> str:
    """Our parameter of a `FlowUNet` -> its key as trained."""
    places = config.blocks + 1  # of each level
    attends = config.attention[::-1]
    name = re.sub(r"^down\.(\d+)\.stages\.(\d+)", lambda m: f"input_blocks.{int(m[1]) * places + int(m[2]) + 1}", name)
    name = re.sub(r"^down\.(\d+)\.resample", lambda m: f"input_blocks.{(int(m[1]) + 1) * places}.0.op", name)
    name = re.sub(r"^up\.(\d+)\.stages\.(\d+)", lambda m: f"output_blocks.{int(m[1]) * places + int(m[2])}", name)

    def resample(m: re.Match[str]) -> str:  # comes last, after a block and perhaps two transformers
        level = int(m[1])
        return f"output_blocks.{(level + 1) * places - 1}.{3 if attends[level] else 1}.conv"

    return UNET + rename(re.sub(r"^up\.(\d+)\.resample", resample, name), _IN_UNET)


def average_key(key: str) -> str:
    """A key of the UNet as trained -> that of its average."""
    return AVERAGE + key.removeprefix("model.").replace(".", "")


def vae_key(name: str, config: VAEConfig) -> str:
    """Our parameter of a `VAE` -> its key in ``vae.ckpt``, where the decoder's levels are counted from its end."""
    last = len(config.multipliers) - 1
    name = rename(name, _IN_VAE)
    return re.sub(r"^decoder\.levels\.(\d+)", lambda m: f"decoder.up.{last - int(m[1])}", name)


def vocoder_key(name: str, config: BigVGANConfig) -> str:
    """Our parameter of a `BigVGAN` -> its key without weight norm; blocks are counted over all stages there."""
    blocks = len(config.block_kernels)

    def layer(m: re.Match[str]) -> str:
        stage, block, unit, second = int(m[1]), int(m[2]), int(m[3]), m[5] == "2"
        place = f"convs{m[5]}.{unit}" if m[4] == "conv" else f"activations.{2 * unit + second}.act"
        return f"resblocks.{stage * blocks + block}.{place}."

    name = re.sub(r"^stages\.(\d+)\.blocks\.(\d+)\.(\d+)\.(conv|act)([12])\.", layer, name)
    return rename(name, _IN_VOCODER)


def flowsep_key(name: str, config: FlowSepConfig) -> str:
    """Our entry of a `FlowSep` -> its key in ``v2_100k.ckpt``."""
    assert isinstance(config.vocoder, BigVGANConfig)
    part, _, rest = name.partition(".")
    if part == "unet":
        return average_key(unet_key(rest, config.unet))
    if part == "vae":
        return VAE_PART + vae_key(rest, config.vae)
    if part == "vocoder":
        return VAE_PART + VOCODER + vocoder_key(rest, config.vocoder)
    if part == "text":
        return TEXT + re.sub(r"^words\.", "shared.", rest)
    return name


def is_flowsep(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like FlowSep's file, whole or not, with or without the average."""
    has = tuple(any(key.startswith(prefix) for key in published) for prefix in (UNET, AVERAGE, VAE_PART))
    return (has[0] or has[1]) and has[2]


def flowsep_part(published: Mapping[str, Tensor]) -> str | None:
    """What of FlowSep this is, where it looks like ``vae.ckpt`` or ``g_01000000`` and not like the whole model."""
    if {"quant_conv.weight", "encoder.conv_in.weight"} <= published.keys():
        return "VAE"
    return "vocoder" if {"conv_pre.bias", "activation_post.act.alpha"} <= published.keys() else None


def flowsep_state(
    published: Mapping[str, Tensor], config: FlowSepConfig | None = None, *, what: str = "the FlowSep file"
) -> dict[str, Tensor]:
    """The state dict of a `FlowSep` out of the published one; of the UNet, the average.

    Args:
        published: its state dict; what is not used of it is not read, where it is mapped from a file.
        config: its sizes; the published model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    config = config or FlowSepConfig.base()
    assert isinstance(config.text, T5Config)  # the published file has no other
    if not any(key.startswith(average_key(UNET)) for key in published):
        raise WeightsError(
            f"{what} holds the UNet as trained and not its average (model_ema), which FlowSep answers with: "
            "give a checkpoint that holds both, as v2_100k.ckpt does"
        )
    assert isinstance(config.vocoder, BigVGANConfig)
    with torch.device("meta"):
        ours = FlowSep(config).state_dict()
    keys = {name: flowsep_key(name, config) for name in ours}
    raw = {unet_key(name.removeprefix("unet."), config.unet) for name in ours if name.startswith("unet.")}
    in_vae = {VAE_PART + key for key in (*loss_keys(), *(VOCODER + key for key in vocoder_filters(config.vocoder)))}
    check_names(published, needed=keys.values(), known={*raw, *in_vae, *_SCHEDULE, *_COUNTS, _WORDS_AGAIN}, what=what)
    _check_filters(published, config.vocoder, VAE_PART + VOCODER, what)
    if _WORDS_AGAIN in published:
        again = {_WORDS: published[_WORDS_AGAIN]}
        check_equal(again, {_WORDS: published[_WORDS]}, f"{what}: T5's words are there twice, and not the same")
    return {name: taken(published, key, ours[name], what) for name, key in keys.items()}


def vae_state(published: Mapping[str, Tensor], config: VAEConfig | None = None, *, what: str) -> dict[str, Tensor]:
    """The state dict of a `VAE` out of that of ``vae.ckpt``; its training loss and the vocoder in it are not read.

    Raises:
        WeightsError: as of `flowsep_state`.
    """
    config = config or VAEConfig.base()
    with torch.device("meta"):
        ours = VAE(config).state_dict()
    keys = {name: vae_key(name, config) for name in ours}
    known = [key for key in published if key.startswith(VOCODER)]
    check_names(published, needed=keys.values(), known={*loss_keys(), *known}, what=what)
    return {name: taken(published, key, ours[name], what) for name, key in keys.items()}


def vocoder_state(
    published: Mapping[str, Tensor], config: BigVGANConfig | None = None, *, what: str
) -> dict[str, Tensor]:
    """The state dict of a `BigVGAN` out of that of ``g_01000000``, or of one without weight norm.

    Raises:
        WeightsError: as of `flowsep_state`.
    """
    config = config or BigVGANConfig.base()
    plain = without_weight_norm(published, what)
    with torch.device("meta"):
        ours = BigVGAN(config).state_dict()
    keys = {name: vocoder_key(name, config) for name in ours}
    check_names(plain, needed=keys.values(), known=set(vocoder_filters(config)), what=what)
    _check_filters(plain, config, "", what)
    return {name: taken(plain, key, ours[name], what) for name, key in keys.items()}


def without_weight_norm(published: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Every ``weight_g`` and ``weight_v`` as one ``weight = g v / |v|``, the length taken over all but the first axis.

    Raises:
        WeightsError: one of a pair is missing, or a direction has no length.
    """
    state = {key: tensor for key, tensor in published.items() if not key.endswith((".weight_g", ".weight_v"))}
    stems = {key[: -len("_v")] for key in published if key.endswith((".weight_g", ".weight_v"))}
    pairs = [f"{stem}_{part}" for stem in stems for part in "gv"]
    check_names(published, needed=pairs, known=published, what=what)
    for stem in stems:
        g, v = published[f"{stem}_g"], published[f"{stem}_v"]
        length = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
        if g.shape != length.shape or not (length > 0).all():
            raise WeightsError(f"{what}: {stem}_g and {stem}_v are no pair of weight norm")
        state[stem] = v * (g / length)
    return state


def loss_keys() -> Iterable[str]:
    """What ``vae.ckpt`` holds of the VAE's training: LPIPS over VGG16, and a discriminator of patches."""
    yield "loss.logvar"
    perceptual, judge = "loss.perceptual_loss.", "loss.discriminator.main."
    yield from (f"{perceptual}scaling_layer.{name}" for name in ("shift", "scale"))
    for part, layers in _VGG16.items():
        yield from (f"{perceptual}net.slice{part}.{i}.{name}" for i in layers for name in ("weight", "bias"))
    yield from (f"{perceptual}lin{i}.model.1.weight" for i in range(len(_VGG16)))
    yield from (f"{judge}{i}.{name}" for i in (0, 11) for name in ("weight", "bias"))
    for i in (2, 5, 8):
        yield f"{judge}{i}.weight"
        norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        yield from (f"{judge}{i + 1}.{name}" for name in norm)


def vocoder_filters(config: BigVGANConfig) -> list[str]:
    """The keys of the vocoder's filters, two for each activation."""
    per_block = 2 * len(config.dilations)
    blocks = range(len(config.rates) * len(config.block_kernels))
    places = ["activation_post", *(f"resblocks.{i}.activations.{k}" for i in blocks for k in range(per_block))]
    return [f"{place}.{name}.filter" for place in places for name in ("upsample", "downsample.lowpass")]


def _check_filters(published: Mapping[str, Tensor], config: BigVGANConfig, prefix: str, what: str) -> None:
    taps = torch.tensor(lowpass())[None, None]
    check_constants(published, {prefix + key: taps for key in vocoder_filters(config)}, what)
