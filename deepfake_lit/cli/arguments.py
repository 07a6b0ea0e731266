"""From what was typed to a command's checked settings."""

import inspect
import re
from pathlib import Path

HELP = {"-h", "--help"}


def settings(arguments: list[str], schema: type):
    """Return (plain arguments, settings); a plain argument has no `=`, or is an existing path.

    If help is asked for, print the schema's source, which has the settings' meanings and defaults, and exit.

    Raises:
        UserError: a setting is unknown, has a wrong type, or is required and not given.
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
