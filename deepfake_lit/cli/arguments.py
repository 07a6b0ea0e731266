"""From what was typed to a command's checked settings."""

import os
import re

# Of data.*, what decides how a network sees images. Commands that only open a data set use none of it.
NETWORKS_OWN = (
    *("data.channels", "data.image_size", "data.mean", "data.std", "data.batch_size", "data.eval_batch_size"),
    *("data.class_sampling", "data.workers", "data.on_device", "data.leave_out"),
)


def settings(arguments: list[str], schema: type, plain: str = "", needed: str = ""):
    """Return (plain arguments, settings); a plain argument has no `=`, or is an existing path.

    Args:
        plain: what the command's plain arguments are, such as "checkpoints"; empty: it takes none.
        needed: what is said where there is none; empty: none is needed.

    Raises:
        UserError: a setting is unknown, has a wrong type, or is required and not given, or an argument is none that
            the command takes.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.messages import explain

    refuse_flags(arguments)
    named = [a for a in arguments if "=" not in a or os.path.exists(a)]  # a long text is no path, and no error
    if named and not plain:
        known = ", ".join(f"{name}=" for name in vars(schema()))
        raise UserError(f"{named[0]!r} is nothing that this command takes; its settings are {known}")
    if needed and not named:
        raise UserError(needed)
    try:
        given = OmegaConf.from_dotlist([a for a in arguments if a not in named])
        return named, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), given))
    except OmegaConfBaseException as error:
        raise UserError(explain(error, schema)) from None


def refuse_flags(arguments: list[str], known: tuple[str, ...] = ()) -> None:
    """Raise `UserError` for the first argument that begins with - and is not one of the known flags."""
    from deepfake_lit.core.errors import UserError

    for argument in arguments:
        flag, _, value = argument.partition("=")
        if flag.startswith("-") and flag not in known:
            name = flag.lstrip("-").replace("-", "_")
            raise UserError(f"there is no flag {flag}; settings have no dashes: {name}={value or 'VALUE'}")


def refuse_unused(arguments: list[str], unused: tuple[str, ...], why: str) -> None:
    """Raise `UserError` for the first setting that was typed in vain.

    Args:
        unused: names of settings, or of whole groups.
        why: nothing uses them, as the end of the message.
    """
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.identity import setting_of

    for argument in arguments:
        name = setting_of(argument)
        if "=" in argument and (name in unused or name.partition(".")[0] in unused):
            raise UserError(f"{argument} would have no effect: {why}; leave it out")


def with_home(arguments: list[str]) -> list[str]:
    """Return the arguments with ~/ at the start of a path expanded; shells do it only at the start of a word."""
    return [re.sub(r"""(^|[=\[,"'])(~[\w.-]*)(?=/)""", lambda m: m[1] + os.path.expanduser(m[2]), a) for a in arguments]
