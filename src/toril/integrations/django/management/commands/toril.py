"""`manage.py toril`: the command line of toril, for the jobs of this project."""

import sys
from typing import Any

import typer.main
from django.core.management.base import BaseCommand, CommandParser, SystemCheckError
from django.db import connections

from toril.cli.root import cli, run_command

TARGET = "toril.integrations.django.app:app"
_STARTS = ("worker", "dev")
_ELSEWHERE = ("--url", "--prefix", "--app", "--help")
_OF_DJANGO = ("--settings", "--pythonpath")


class Command(BaseCommand):
    """Runs toril's commands on the jobs of this project."""

    help = "Run and inspect background jobs: manage.py toril worker, manage.py toril --help."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take everything that is typed."""
        parser.add_argument("words", nargs="*")

    def run_from_argv(self, argv: list[str]) -> None:
        """Run what was typed; toril reads its own options."""
        self._run(_without_options_of_django(argv[2:]), f"{argv[0]} {argv[1]}")

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the help of toril."""
        self._run(["--help"], f"{prog_name} {subcommand}")

    def handle(self, *args: Any, words: list[str], **_: Any) -> None:
        """Run the words of `call_command("toril", "queues")`."""
        self._run(words, "toril")

    def _run(self, words: list[str], name: str) -> None:
        if words and words[0] in _STARTS:
            try:
                self.check()
            except SystemCheckError as error:
                self.stderr.write(str(error))
                sys.exit(1)
            # A supervisor forks no connection.
            connections.close_all()
        run_command(for_this_project(words), name)


def for_this_project(words: list[str]) -> list[str]:
    """Return the words with the app of this project, where they name no other."""
    if not words:
        return words
    command, *rest = words
    if command in _STARTS:
        return words if "--help" in rest else [command, TARGET, *rest]
    named = any(word.partition("=")[0] in _ELSEWHERE for word in rest)
    return words if named or not _takes_an_app(command) else [command, "--app", TARGET, *rest]


def _takes_an_app(command: str) -> bool:
    found = getattr(typer.main.get_command(cli), "commands", {}).get(command)
    return any("--app" in each.opts for each in getattr(found, "params", ()))


def _without_options_of_django(words: list[str]) -> list[str]:
    """Leave out what `manage.py` itself has read."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in _OF_DJANGO:
            next(rest, None)
        elif word.partition("=")[0] not in _OF_DJANGO:
            kept.append(word)
    return kept
