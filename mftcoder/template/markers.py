"""Role markers as users give them."""

from __future__ import annotations

from collections.abc import Mapping

NEEDED = ("system", "user", "assistant")


def checked(role_markers: Mapping[str, str]) -> dict[str, str]:
    """The markers by role, as `typed` reads them.

    Raises:
        ValueError: system, user or assistant has none.
    """
    missing = [role for role in NEEDED if role not in role_markers]
    if missing:
        raise ValueError(f"role_markers: no {', '.join(missing)} in {dict(role_markers)}; expected {', '.join(NEEDED)}")
    return {role: typed(text) for role, text in role_markers.items()}


def typed(text: str) -> str:
    r"""A text in which \n and \t, two characters each as a command line's quotes leave them, are newline and tab."""
    return text.replace(r"\n", "\n").replace(r"\t", "\t")


def marker(role_markers: Mapping[str, str], role: str) -> str:
    """What stands before a turn of `role`.

    Raises:
        ValueError: there is no marker for it.
    """
    if role not in role_markers:
        raise ValueError(f"a turn of role {role}, for which template.role_markers has no marker: {role_markers}")
    return role_markers[role]
