"""A database's URL: read, and shown without what may be a password in it."""

from __future__ import annotations

import re

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from ledger.errors import InvalidInput

HINT = "use sqlite:///path/ledger.db or postgresql+psycopg://user@host/database"
_ENCODED = " (in a password, @ is written %40 and ? is %3F)"
_SHOWN = {
    "host", "port", "user", "dbname", "sslmode", "target_session_attrs", "connect_timeout", "application_name",
}  # fmt: skip
"""What of a URL's query is shown. The rest may be a password, by whatever name, or hold one."""


def parse_url(text: str) -> URL:
    """The URL of a ledger. Raises InvalidInput, which shows nothing of a password."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):  # ValueError: of a port
        why = f"cannot be read{_ENCODED if '@' in text else ''}; {HINT}"
        raise InvalidInput("database URL", _hidden(text), why) from None
    # As make_url takes it apart: what it takes for a host or a name must not be the rest of a password.
    parts = re.match(r"(?s)[\w+]+://(?:([^:/]*(?::[^@]*)?)@)?([^?]*)(.*)", text)
    user, place, query = parts.groups("") if parts else ("", "", "")
    if url.get_backend_name() != "sqlite" and ("?" in user or "@" in place or (":" in user and "@" in query)):
        raise InvalidInput("database URL", _hidden(text), f"has an @ or a ? too many{_ENCODED}")
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise InvalidInput("database URL", label_of(url), f"not supported; {HINT}")
    if url.get_backend_name() == "sqlite" and (user or url.host):
        raise InvalidInput("database URL", _hidden(text), f"a file has no host; {HINT}")
    if url.get_backend_name() == "sqlite" and (
        (url.database or ":").startswith((":", "file:")) or "\0" in (url.database or "")
    ):
        raise InvalidInput("database URL", label_of(url), f"a ledger is kept in a file; {HINT}")
    if url.get_backend_name() == "sqlite" and url.query:
        raise InvalidInput(
            "database URL",
            label_of(url),
            f"an SQLite file takes no parameter {min(url.query)!r}; leave it out",
        )
    if "conninfo" in url.query:  # psycopg would take it for a whole URL, and show it where it cannot be read
        raise InvalidInput("database URL", label_of(url), "takes no parameter 'conninfo'; leave it out")
    return url


def label_of(url: URL) -> str:
    """The URL without what may be a password, for messages."""
    return url.difference_update_query(set(url.query) - _SHOWN).render_as_string(hide_password=True)


def _hidden(text: str) -> str:
    """What cannot be read, if it can hold no password; else no more than its scheme."""
    scheme = re.match(r"[\w+]+:(//)?", text)
    return text if re.fullmatch(r"[\w./+-]*", text) else f"{scheme[0] if scheme else ''}***"


def strange_option(url: URL) -> str | None:
    """What PostgreSQL's driver finds wrong with the URL's options, before it would ask a server: so none is away."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo, timeout_from_conninfo

    try:
        make_conninfo(**dict.fromkeys(url.query, ""))
        if "connect_timeout" in url.query:
            timeout_from_conninfo({"connect_timeout": str(url.query["connect_timeout"])})
    except ProgrammingError as error:
        return str(error).strip()
    return None
