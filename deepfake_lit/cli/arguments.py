"""What was typed, as a command's checked settings."""

import inspect
import re
from pathlib import Path

HELP = {"-h", "--help"}


def settings(arguments: list[str], schema: type):
    """Split what was typed: words without `=` and existing paths are plain arguments, the rest are settings.

    Where help is asked for, print the settings with their meaning and defaults, and leave.

    Raises:
        UserError: an unknown setting, a wrong type, or one that must be given and is not.
    """
    if HELP & set(arguments):
        source = inspect.getsource(schema).partition(":\n")[2]
        print(re.sub(r"setting\((.*?)(?:, \w+=[^,()]+)*\)", r"\1", source), end="")
        raise SystemExit(0)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.compose import explain

    plain = [a for a in arguments if "=" not in a or Path(a).exists()]
    try:
        given = OmegaConf.from_dotlist([a for a in arguments if a not in plain])
        return plain, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), given))
    except OmegaConfBaseException as error:
        raise UserError(explain(error, schema)) from None
