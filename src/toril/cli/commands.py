"""The group of commands, and commands whose options are the fields of a dataclass."""

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

from toril._model.urls import hide_words
from toril._serve.console import typed

T = TypeVar("T")


def command(cli: typer.Typer, kind: type[T], *, name: str) -> Callable[[Callable[[T], None]], None]:
    """Decorate what runs when a command is typed; it gets one `kind`, made of what was typed.

    Shape    kind: a dataclass whose fields are annotated as typer annotates parameters.
    """

    def register(run: Callable[[T], None]) -> None:
        def parsed(**words: Any) -> None:
            run(kind(**words))

        cli.command(name)(_typed(parsed, run, _parameters(kind)))

    return register


def group(cli: typer.Typer, kind: type[T]) -> Callable[[Callable[[T], None]], None]:
    """Decorate what runs when a group is typed without a command of it; otherwise as `command`."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def register(run: Callable[[T], None]) -> None:
        def parsed(ctx: typer.Context, **words: Any) -> None:
            if ctx.invoked_subcommand is None:
                run(kind(**words))

        given = [context, *_parameters(kind)]
        cli.callback(invoke_without_command=True)(_typed(parsed, run, given))

    return register


def _typed(
    parsed: Callable[..., None], run: Callable[..., None], given: list[inspect.Parameter]
) -> Callable[..., None]:
    """Let typer see the parameters that a function takes as words."""
    parsed.__doc__ = run.__doc__
    parsed.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    parsed.__annotations__ = {each.name: each.annotation for each in given}
    return parsed


def _parameters(kind: type[object]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[each.name],
            default=_default(each),
        )
        for each in fields(kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ]


def _default(each: Field[Any]) -> Any:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return inspect.Parameter.empty if each.default is MISSING else each.default


class Commands(TyperGroup):
    """The commands; an error about what was typed repeats no password."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words before a command."""
        with _passwords_hidden():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of a command, and run it."""
        with _passwords_hidden():
            return super().invoke(ctx)


@contextmanager
def _passwords_hidden() -> Generator[None]:
    try:
        yield
    except Exception as error:
        # Typer may bring a click of its own, whose errors have no public name.
        message = getattr(error, "message", None)
        if isinstance(message, str):
            setattr(error, "message", hide_words(message, typed()))  # noqa: B010  # it is final
        raise
