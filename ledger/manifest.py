"""Text as kubectl takes it (JSON, YAML, several documents, a List) into plain objects. Pure.

The text is hostile until proven otherwise: it is bounded in bytes, nodes and depth before anything is
built, aliases are counted as if written out, and a key that comes twice is an error, not a riddle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import yaml

from ledger.errors import InvalidPool

MAX_BYTES: Final = 3 * 1024 * 1024
"""What the API server takes in one request."""
MAX_NODES: Final = 200_000
"""Values in one text, with every alias written out. A pool at all its limits has about 60,000."""
MAX_DEPTH: Final = 64


def read_objects(text: str | bytes, source: str) -> Iterator[tuple[str, object]]:
    """Every object of the text, with the words that say where it stands (empty where there is only one).

    Empty documents are skipped, lists are opened. Raises InvalidPool, naming ``source``.
    """
    documents = [each for each in _documents(_decoded(text, source), source) if each is not None]
    for number, document in enumerate(documents, start=1):
        place = f"document {number}: " if len(documents) > 1 else ""
        if not isinstance(document, dict):
            raise InvalidPool(
                place + source, type(document).__name__, "must be an object with apiVersion and kind"
            )
        if (document.get("apiVersion"), document.get("kind")) == ("v1", "List") or document.get(
            "kind"
        ) == "IPPoolList":
            yield from _items(document, place)
        else:
            yield place, document


def _items(document: dict[str, object], place: str) -> Iterator[tuple[str, object]]:
    items = document.get("items")
    if not isinstance(items, list):
        raise InvalidPool(f"{place}items", type(items).__name__, "must be a list")
    for number, item in enumerate(items):
        if document.get("kind") == "IPPoolList" and isinstance(item, dict):
            # the API server leaves both out of the items of a typed list
            item = {"apiVersion": document.get("apiVersion"), "kind": "IPPool"} | item
        yield f"{place}items[{number}].", item


def _decoded(text: str | bytes, source: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidPool(source, f"{size} bytes", f"is larger than {MAX_BYTES} bytes")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        wrong = ascii(error.object[error.start : error.end])
        raise InvalidPool(source, wrong, f"is not UTF-8 (byte {error.start})") from error
    return decoded.removeprefix("\ufeff")


def _documents(text: str, source: str) -> list[object]:
    # JSON is YAML, but json is a hundred times faster; flow YAML also starts with a brace
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _json(text, source)
        except (json.JSONDecodeError, RecursionError):
            pass
        except ValueError as error:
            raise InvalidPool(source, text[:40], "holds a number that is too long") from error
    try:
        return _yaml(text, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidPool(source, text[:40], f"is neither JSON nor YAML: {error.problem}{where}") from error
    except UnicodeEncodeError as error:
        raise InvalidPool(source, ascii(text[:40]), "holds half a surrogate pair") from error
    except ValueError as error:
        raise InvalidPool(source, text[:40], "holds a number that is malformed or too long") from error
    except (yaml.YAMLError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise InvalidPool(source, text[:40], f"is neither JSON nor YAML: {why}") from error


# -- JSON ---------------------------------------------------------------------------------------------


def _json(text: str, source: str) -> list[object]:
    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        if len(found) != len(dict(found)):
            seen: set[str] = set()
            twice = next(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise InvalidPool(source, twice, "a key comes twice in one object")
        return dict(found)

    def constant(name: str) -> NoReturn:
        raise InvalidPool(source, name, "is no number that JSON knows")

    decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant)
    documents, at = [], 0
    while rest := text[at:].lstrip():
        at = len(text) - len(rest)
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        at += end
        if len(documents) > 1024:
            raise InvalidPool(source, len(documents), "holds more than 1024 documents")
    return documents


# -- YAML ---------------------------------------------------------------------------------------------

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it, ten times faster


class _Loader(_Base):  # type: ignore[misc]
    """Safe, and resolves plain words as kubectl does: no dates, no numbers in base 60.

    Base 60 would turn the IPv6 address 2001:10:20:30:40:50:1:2 into a number.
    """


_RESOLVERS: Final = {
    "tag:yaml.org,2002:int": r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)",
    "tag:yaml.org,2002:float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "tag:yaml.org,2002:timestamp": None,
}

_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, re.compile(f"^(?:{_RESOLVERS[tag]})$") if tag in _RESOLVERS else pattern)
        for tag, pattern in resolvers
        if _RESOLVERS.get(tag, "") is not None
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))


def _yaml(text: str, source: str) -> list[object]:
    _bound(text, source)
    loader = _Loader(text)
    documents: list[object] = []
    sizes: dict[yaml.Node, int] = {}
    try:
        while loader.check_node():
            node = loader.get_node()
            if _written_out(node, source, loader, sizes, frozenset()) > MAX_NODES:
                raise InvalidPool(
                    source, "aliases", f"holds more than {MAX_NODES} values, aliases written out"
                )
            documents.append(loader.construct_document(node))
    finally:
        loader.dispose()
    return documents


def _bound(text: str, source: str) -> None:
    """Counts and measures the text before anything is built of it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidPool(source, _line(event), f"is nested deeper than {MAX_DEPTH}")
        if number > 2 * MAX_NODES:
            raise InvalidPool(source, _line(event), f"holds more than {MAX_NODES} values")


def _written_out(
    node: yaml.Node, source: str, loader: Any, sizes: dict[yaml.Node, int], above: frozenset[yaml.Node]
) -> int:
    """How many values the node has with its aliases written out.

    Refuses cycles, keys that come twice, and tags that JSON has no value for or that their value belies.
    """
    if node in sizes:
        return sizes[node]
    if node in above or len(above) > MAX_DEPTH:
        raise InvalidPool(source, _line(node), f"is nested deeper than {MAX_DEPTH}, by aliases")
    if isinstance(node, yaml.ScalarNode):
        _honest(node, source, loader)
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidPool(source, _line(key), "a key must be text")
            if key.value in keys:
                raise InvalidPool(source, key.value, f"a key comes twice in one object ({_line(key)})")
            keys.add(key.value)
            if key.tag != _MERGE:
                _honest(key, source, loader)
            inside.append(value)
    elif isinstance(node, yaml.SequenceNode):
        inside = node.value
    sizes[node] = 1 + sum(_written_out(each, source, loader, sizes, above | {node}) for each in inside)
    return sizes[node]


def _honest(node: yaml.ScalarNode, source: str, loader: Any) -> None:
    # `!!bool perhaps` would be a KeyError deep inside the constructor
    if node.tag != _TEXT and (
        node.tag not in _PLAIN or node.tag != loader.resolve(yaml.ScalarNode, node.value, (True, False))
    ):
        raise InvalidPool(source, node.value[:40], f"is no {node.tag.rpartition(':')[2]} ({_line(node)})")


def _line(where: yaml.Node | yaml.Event) -> str:
    return f"line {where.start_mark.line + 1}" if where.start_mark else "somewhere"
