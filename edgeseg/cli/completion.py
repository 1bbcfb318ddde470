"""`edgeseg completion bash|zsh|fish`: completion of verbs and options, made from the parsers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

HELP = "print the completion script of a shell"
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verb:
    name: str
    help: str
    options: tuple[tuple[str, str], ...]
    choices: dict[str, tuple[str, ...]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "shell", metavar="SHELL", choices=SHELLS, help='bash, zsh or fish; for bash: eval "$(edgeseg completion bash)"'
    )


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    from edgeseg.cli import render

    text = script(options.shell)
    if options.json:
        render.result_json({"schema": 1, "shell": options.shell, "script": text})
    else:
        print(text, end="")
    return 0


def script(shell: str) -> str:
    """Return the completion script for one of `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_verbs())


def _verbs() -> tuple[_Verb, ...]:
    from edgeseg.cli.main import parser

    (action,) = [item for item in parser()._actions if isinstance(item, argparse._SubParsersAction)]  # noqa: SLF001 - not public
    helps = {item.dest: item.help or "" for item in action._choices_actions}  # noqa: SLF001 - not public
    return tuple(_verb(name, helps.get(name, ""), verb) for name, verb in action.choices.items())


def _verb(name: str, help_text: str, verb: argparse.ArgumentParser) -> _Verb:
    options, choices = [], {}
    for action in verb._actions:  # noqa: SLF001 - argparse has no public list of them
        for option in action.option_strings:
            options.append((option, action.help or ""))
            if action.choices:
                choices[option] = tuple(map(str, action.choices))
        if not action.option_strings and action.choices:
            choices[""] = tuple(map(str, action.choices))
    return _Verb(name=name, help=help_text, options=tuple(options), choices=choices)


def _words(verb: _Verb) -> str:
    return " ".join([*(option for option, _ in verb.options), *verb.choices.get("", ())])


def _bash(verbs: tuple[_Verb, ...]) -> str:
    names = " ".join(verb.name for verb in verbs)
    options = "".join(f'      {verb.name}) words="{_words(verb)}" ;;\n' for verb in verbs)
    values = "".join(
        f'      "{verb.name} {option}") words="{" ".join(known)}" ;;\n'
        for verb in verbs
        for option, known in verb.choices.items()
        if option
    )
    return f"""\
_edgeseg() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{names} --help --version"
  else
    case "$verb" in
{options}    esac
    case "$verb $before" in
{values}    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _edgeseg edgeseg
"""


def _zsh(verbs: tuple[_Verb, ...]) -> str:
    named = "\n".join(f"    {_quoted(f'{verb.name}:{verb.help}')}" for verb in verbs)
    options = "\n".join(f"    {verb.name}) options=({_words(verb)}) ;;" for verb in verbs)
    return f"""\
#compdef edgeseg
_edgeseg() {{
  local -a verbs options
  verbs=(
{named}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case $words[2] in
{options}
  esac
  compadd -- $options
  _files
}}
compdef _edgeseg edgeseg
"""


def _fish(verbs: tuple[_Verb, ...]) -> str:
    lines = ["complete -c edgeseg -n __fish_use_subcommand -l version -d 'print the version'"]
    for verb in verbs:
        lines.append(f"complete -c edgeseg -n __fish_use_subcommand -f -a {verb.name} -d {_quoted(verb.help)}")
        seen = f"-n '__fish_seen_subcommand_from {verb.name}'"
        for option, help_text in verb.options:
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            known = f" -x -a '{' '.join(verb.choices[option])}'" if option in verb.choices else ""
            lines.append(f"complete -c edgeseg {seen} {flag}{known} -d {_quoted(help_text)}")
        if "" in verb.choices:
            lines.append(f"complete -c edgeseg {seen} -a '{' '.join(verb.choices[''])}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("%%", "%").replace("'", "'\\''") + "'"
