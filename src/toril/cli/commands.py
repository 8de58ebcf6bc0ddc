"""Commands whose options are the fields of a dataclass: many options, one value.

Never here: any command.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer

T = TypeVar("T")


def command(cli: typer.Typer, kind: type[T], *, name: str) -> Callable[[Callable[[T], None]], None]:
    """Decorate what runs when a command is typed; it gets one `kind`, made of what was typed.

    Shape    kind: a dataclass whose fields are annotated as typer annotates parameters.
    """
    hints = get_type_hints(kind, include_extras=True)
    given = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[each.name],
            default=inspect.Parameter.empty if each.default is MISSING else each.default,
        )
        for each in fields(kind)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ]

    def register(run: Callable[[T], None]) -> None:
        def typed(**words: Any) -> None:
            run(kind(**words))

        typed.__doc__ = run.__doc__
        typed.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
        typed.__annotations__ = {each.name: each.annotation for each in given}
        cli.command(name)(typed)

    return register
