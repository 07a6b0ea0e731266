"""Completion of commands, settings and their choices in bash and zsh."""

from deepfake_lit.cli.help import GROUPS, HELP, schema_of

SCRIPT = r"""# deepfake-lit: add this line to ~/.bashrc or ~/.zshrc:  eval "$(deepfake-lit completion SHELL)"
_deepfake_lit() {
    local line="${COMP_LINE:0:$COMP_POINT}" word
    word="${line##*[[:space:]]}"
    local IFS=$'\n'
    COMPREPLY=($(deepfake-lit completion words "$line" 2>/dev/null))
    # the shell replaces only what stands after the last = of the word
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _deepfake_lit deepfake-lit
"""
TRAINS = ("train", "search")  # commands that take the settings of a run
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str) -> str:
    """Return what the shell has to evaluate.

    Args:
        shell: bash or zsh.
    """
    return (ZSH if shell == "zsh" else "") + SCRIPT.replace("SHELL", shell)


def words(line: str) -> list[str]:
    """Return what the last word of a line can become. Nothing means that the shell offers files."""
    typed = line.split()
    last = "" if not typed or line[-1].isspace() else typed.pop()
    if len(typed) < 2:
        return [name for name in HELP if name.startswith(last)]
    name, equals, value = last.partition("=")
    offered = _values(typed[1]).get(name, ()) if equals else [f"{each}=" for each in _settings(typed[1])]
    start = f"{name}=" if equals else ""
    return [f"{start}{each}" for each in offered if each.startswith(value if equals else last)]


def _settings(command: str) -> list[str]:
    from deepfake_lit.settings.meanings import meanings

    schema = schema_of(command)
    names = [each.name for each in meanings(*schema)] if schema else []
    groups = GROUPS if command in TRAINS else ()
    names += [each.name for each in meanings(*schema_of("train"))] if command == "search" else []
    return [*groups, *(name for name in names if name not in groups)]


def _values(command: str) -> dict[str, list[str]]:
    """Return the choices of the settings that have some, by their names."""
    from deepfake_lit.settings.choices import PRUNERS, SAMPLERS
    from deepfake_lit.settings.conf import choices

    found = {"split": ["auto", "train", "validation", "test", "all"]} if command == "evaluate" else {}
    found |= {"scale": ["full", "cpu", "smoke"], "until": ["settled"]} if command == "reproduce" else {}
    if command == "search":
        found |= {"pruner": [*PRUNERS], "sampler": [*SAMPLERS]}
    return found | ({name: choices(name) for name in GROUPS} if command in TRAINS else {})
