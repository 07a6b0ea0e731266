"""Checks of values and combinations of settings that types cannot rule out."""

import dataclasses
import re
from typing import Any

from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.metrics import MONITORS
from deepfake_lit.settings.choices import CHANNELS, FITS, LAUNDERING, PROBLEMS, UNTRAINED, VIEWS
from deepfake_lit.settings.schema import AugmentConfig, Config


def check(cfg: Config) -> None:
    """Raise `UserError` for values and combinations that types cannot rule out."""

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise UserError(message)

    d, a, t = cfg.data, cfg.augment, cfg.trainer
    one_of("data.layout", d.layout, ("auto", "kaggle", "folders"))
    one_of("data.channels", d.channels, CHANNELS)
    one_of("data.fit", d.fit, tuple(FITS))
    require(d.fit not in ("crop", "pad") or d.decode_size, f"data.fit={d.fit} needs data.decode_size, a side in pixels")
    require(
        d.fit != "random_crop" or not d.on_device,
        "data.on_device keeps one window of each image; data.fit=random_crop takes others every epoch",
    )
    require(d.cache_gib >= 0, "data.cache_gib must be 0 or more")
    tolerable = tuple(name for name, kind in PROBLEMS.items() if kind.when_tolerated)
    for kind in d.tolerate:
        one_of("data.tolerate", kind, tolerable)
    count = CHANNELS[d.channels]
    for name, value in (("data.mean", d.mean), ("data.std", d.std)):
        require(len(value) in (1, count), f"{name} has {len(value)} values; {d.channels} needs 1 or {count}")
    require(min(d.std) > 0, "data.std must be above 0")
    names = d.class_names or []
    require(len(set(names)) == len(names), f"data.class_names={names} names a class twice")
    for name in ("batch_size", "eval_batch_size", "portion"):
        require(getattr(d, name) is None or getattr(d, name) > 0, f"data.{name} must be above 0")
    for name in ("image_size", "decode_size"):
        require(getattr(d, name) is None or getattr(d, name) >= 8, f"data.{name} must be at least 8 pixels")
    require(0 < d.validation_fraction < 1, "data.validation_fraction must lie between 0 and 1")
    require((d.folds is None) == (d.fold is None), "data.folds and data.fold belong together")
    require(d.folds is None or d.folds >= 2, "data.folds must be 2 or more")
    require(d.folds is None or 0 <= d.fold < d.folds, f"data.fold must be in 0..{(d.folds or 0) - 1}")
    left = d.leave_out
    require(
        left is None or (len(left) > 0 and left == sorted(set(left)) and left[0] >= 0),
        f"data.leave_out={left} must be numbers of classes, in order and each once, as in [4]; null leaves none out",
    )

    for f in dataclasses.fields(a):
        if f.name in ("hflip", "vflip", "rot90") or f.name.endswith("_p"):
            value = getattr(a, f.name)
            require(value is None or 0 <= value <= 1, f"augment.{f.name} is a probability; {value} is not in [0, 1]")
    require(a.cutmix_p + a.mixup_p <= 1, "augment.cutmix_p + augment.mixup_p must not exceed 1")
    require(min(a.cutmix_alpha, a.mixup_alpha) > 0, "augment.cutmix_alpha and mixup_alpha must be above 0")
    require(a.mix_epochs is None or a.mix_epochs >= 0, "augment.mix_epochs must not be negative")
    one_of("augment.interpolation", a.interpolation, ("bilinear", "nearest"))
    one_of("augment.outliers_kind", a.outliers_kind, ("filter", "traces"))
    require(a.blur_kernel % 2 == 1 and a.blur_kernel > 0, "augment.blur_kernel must be odd")
    require(a.crop is None or a.crop > 0, "augment.crop must be above 0")
    require(a.window is None or a.window >= 8, "augment.window must be at least 8 pixels")
    require(0 <= a.randaugment_magnitude <= 30, "augment.randaugment_magnitude must be in 0..30")
    require(0 <= a.hue <= 0.5, "augment.hue must be in [0, 0.5]")
    for name in ("scale", "blur_sigma", "erasing_area", "erasing_ratio"):
        pair = getattr(a, name)
        require(len(pair) == 2 and 0 < pair[0] <= pair[1], f"augment.{name} must be [low, high] with 0 < low <= high")
    _check_laundering(a, d.on_device, require)

    m = cfg.model
    if hasattr(m, "width"):
        require(m.width > 0, "model.width must be above 0")
    dropout = getattr(m, "dropout", [])
    for p in dropout if isinstance(dropout, list) else [dropout]:
        require(0 <= p < 1, f"model.dropout is a probability below 1; got {p}")
    if m.kind == "deepfake_net":
        require(len(m.dropout) == 3, "model.dropout of deepfake_net is three probabilities, one a block")

    if m.kind == "whitening_cnn":
        require(1 <= m.stride <= m.patch, "model.stride must be in 1..model.patch")
        one_of("model.pooling", m.pooling, ("avg", "avg_max"))
        if m.texture is not None:
            one_of("model.texture", m.texture, ("gram", "residuals", "spectrum"))
        require(m.clip is None or m.clip > 0, "model.clip must be above 0")
    require(cfg.init_weights is None or cfg.init_from is not None, "init_weights belongs to an init_from")
    require(cfg.init_from is None or m.kind != "none", "init_from needs a network: model=none has no weights")
    if m.kind == "timm":
        require(m.pretrained_file is None or m.pretrained, "model.pretrained_file belongs to model.pretrained=true")
        require(m.pretrained_digest is None or m.pretrained_file is not None, "model.pretrained_digest has no file")
    if m.kind == "ensemble":
        _check_ensemble(cfg, require)

    require(
        m.kind != "none" or len(cfg.baselines) > 0, "model=none trains no network; name a baseline, as in baseline=knn"
    )
    for name in cfg.baselines:
        require(name.isidentifier(), f"baselines.{name}: a baseline's name is letters, digits and _")

    require(0 <= cfg.loss.label_smoothing < 1, "loss.label_smoothing must be in [0, 1)")
    _check_optimizer(cfg, require)
    require(cfg.seed >= 0, "seed must be 0 or more")
    require(t.max_epochs > 0, "trainer.max_epochs must be above 0")
    for name in ("limit_train_batches", "limit_val_batches"):
        _check_limit(f"trainer.{name}", getattr(t, name))
    require(d.workers >= 0, "data.workers must not be negative")
    require(t.threads is None or t.threads <= 1024, "trainer.threads must be at most 1024")  # more crash OpenMP
    for name in ("accumulate_grad_batches", "num_nodes", "threads"):
        require(getattr(t, name) is None or getattr(t, name) > 0, f"trainer.{name} must be above 0")
    require(t.early_stopping is None or t.early_stopping > 0, "trainer.early_stopping must be above 0")
    require(t.ema is None or 0 < t.ema < 1, "trainer.ema must lie between 0 and 1")
    require(t.swa is None or 0 <= t.swa < 1, "trainer.swa is a share of the epochs, from 0 up to 1")
    require(t.ema is None or t.swa is None, "trainer.ema and trainer.swa are two averages; choose one")
    require(t.keep_epochs is None or t.keep_epochs > 0, "trainer.keep_epochs must be above 0")
    require(
        cfg.extends is None or re.fullmatch(r"[0-9a-f]{16}", cfg.extends) is not None,
        f"extends is {cfg.extends!r}; it must be the fingerprint of a run: the 16 digits that its folder is named by",
    )
    one_of("trainer.precision", t.precision, ("auto", "fp32", "bf16", "fp16"))
    one_of("trainer.compile", t.compile, ("auto", "on", "off"))
    captured = t.compile == "on"
    require(not captured or m.kind != "ensemble", "trainer.compile=on: an ensemble trains no network; leave it out")
    require(
        not captured or t.accumulate_grad_batches == 1,
        "trainer.compile=on keeps no gradients from step to step: leave trainer.accumulate_grad_batches at 1",
    )
    for name, value in (("monitor", cfg.monitor), ("scheduler.monitor", getattr(cfg.scheduler, "monitor", None))):
        if value is not None:
            one_of(name, value, MONITORS)
    check_views(cfg.evaluate.views)


def check_against_data(cfg: Config, class_count: int, image_size: tuple[int, int]) -> None:
    """Check the settings that depend on the number of classes and on the size of the images.

    Args:
        image_size: (height, width) of the decoded images, in pixels.

    Raises:
        UserError: a setting does not fit the data; the message is one line on the first such setting.
    """
    sampling, a = cfg.data.class_sampling, cfg.augment
    if sampling and (len(sampling) != class_count or min(sampling) < 0 or sum(sampling) == 0):
        raise UserError(f"data.class_sampling needs a weight of 0 or more for each of {class_count} classes, not all 0")
    _check_class_weights(cfg.loss.class_weights, class_count)
    height, width = (cfg.data.image_size,) * 2 if cfg.data.image_size else image_size
    if a.window:
        if a.window > min(height, width):
            raise UserError(f"augment.window={a.window} must fit into the images, {width} x {height}")
        height = width = a.window
    if a.crop and a.crop >= min(height, width):
        raise UserError(f"augment.crop={a.crop} must be less than the images' side, {min(height, width)}")
    if a.rot90 and height != width:
        raise UserError(f"augment.rot90 turns square images; these are {width} x {height}: set data.image_size")


def _check_laundering(a: AugmentConfig, on_device: bool | None, require) -> None:
    ranges = {kind: limits for kind in LAUNDERING if (limits := getattr(a, f"laundering_{kind}")) is not None}
    for kind, limits in ranges.items():
        low, high = LAUNDERING[kind]
        fits = len(limits) == 2 and low <= limits[0] <= limits[1] <= high
        require(fits, f"augment.laundering_{kind} must be [low, high] between {low} and {high}, or null")
    require(
        not (ranges and on_device), "data.on_device keeps the images as they are; augment.laundering_ distorts them"
    )
    require(a.laundering_most >= 1, "augment.laundering_most must be 1 or more")


def _check_optimizer(cfg: Config, require) -> None:
    o, s = cfg.optimizer, cfg.scheduler
    require(o.lr > 0, "optimizer.lr must be above 0")
    for name in ("weight_decay", "momentum"):
        require(getattr(o, name, 0) >= 0, f"optimizer.{name} must not be negative")
    require(not getattr(o, "nesterov", False) or o.momentum > 0, "optimizer.nesterov needs an optimizer.momentum")
    betas = getattr(o, "betas", [0.9, 0.999])
    require(len(betas) == 2 and all(0 <= b < 1 for b in betas), "optimizer.betas must be two numbers in [0, 1)")
    require(0 <= getattr(s, "warmup", 0) <= 1, "scheduler.warmup is a share of the steps, from 0 to 1")
    for name in ("div_factor", "final_div_factor"):
        require(getattr(s, name, 1) > 0, f"scheduler.{name} must be above 0")
    require(0 < getattr(s, "factor", 0.5) < 1, "scheduler.factor must lie between 0 and 1")
    require(getattr(s, "patience", 0) >= 0, "scheduler.patience must not be negative")


def _check_limit(name: str, value: Any) -> None:
    """Check a number of batches, or a share of them, as Lightning takes it; without a batch there is no run."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and value > 0 and (value <= 1 or value % 1 == 0)):
        raise UserError(
            f"{name} is {value!r}; it must be a number of batches, 1 or more, or a share above 0, up to 1.0"
        )


def _check_class_weights(setting: Any, count: int) -> None:
    if setting in (None, "balanced"):
        return
    if isinstance(setting, dict) and set(setting) == {"focus"} and isinstance(setting["focus"], dict):
        for label in setting["focus"]:
            if not str(label).isdigit() or int(label) >= count:
                raise UserError(f"loss.class_weights.focus names class {label!r}; the classes are 0..{count - 1}")
        weights = [*setting["focus"].values(), *[1.0] * (count - len(setting["focus"]))]
    elif isinstance(setting, list):
        weights = setting
    else:
        raise UserError(f"loss.class_weights={setting!r} is neither a list, nor balanced, nor {{focus: {{4: 2.7}}}}")
    if len(weights) != count:
        raise UserError(f"loss.class_weights has {len(weights)} numbers for {count} classes")
    if any(not isinstance(w, int | float) or w < 0 for w in weights) or sum(weights) == 0:
        raise UserError("loss.class_weights must be numbers of 0 or more, not all 0")


def _check_ensemble(cfg: Config, require) -> None:
    m = cfg.model
    one_of("model.combine", m.combine, ("head", "mean", "weighted_mean", "vote"))
    if m.fit_on is not None:
        one_of("model.fit_on", m.fit_on, ("train", "out_of_fold", "validation"))
    require(
        m.combine in UNTRAINED or m.fit_on is not None,
        f"model.combine={m.combine} is fitted: model.fit_on must say on what",
    )
    require(m.fit_on != "out_of_fold" or (m.folds or 0) >= 2, "model.folds must be 2 or more")
    require(m.hidden > 0, "model.hidden must be above 0")
    require(cfg.augment == AugmentConfig(), "members of an ensemble answer for the images as they are: augment=none")
    require(cfg.init_from is None, "an ensemble starts from its members: leave init_from out")
    require(cfg.trainer.ema is None and cfg.trainer.swa is None, "an ensemble has no average of weights: no ema or swa")


def check_views(views: list[str]) -> None:
    """Raise `UserError` if the list of views is empty or names a view that does not exist."""
    if not views:
        raise UserError("views needs at least one view, such as identity")
    for view in views:
        if view not in VIEWS:
            raise UserError(f"views has {view!r}; it must be one of {', '.join(VIEWS)}")
