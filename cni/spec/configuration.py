"""The network configuration on stdin (SPEC section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from cni.spec import fields
from cni.spec.words import (
    LATEST,
    MAX_STDIN,
    NAME,
    NO_NAME,
    SINCE,
    UNSAID,
    VERSIONS,
    Code,
    Refusal,
    Verb,
    dump,
)

REMEMBERED = 4096
"""Bytes up to which a configuration is remembered."""

ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")
"""Numbers of a route that 1.1.0 brought."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: ``dst`` a prefix, ``gw`` an address or None, and the ``ROUTE_NUMBERS`` that were given."""

    dst: str
    gw: str | None = None
    numbers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Dns:
    """DNS settings to pass on (section 5)."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        said = {
            "nameservers": list(self.nameservers),
            "domain": self.domain,
            "search": list(self.search),
            "options": list(self.options),
        }
        return {key: value for key, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Conf:
    """The network configuration on stdin.

    ``routes`` None: the key was absent, and default routes by the gateways are wanted. ``asked``: from
    ``args.cni.ips`` and ``runtimeConfig.ips``. ``previous``: for CHECK, the addresses of ``prevResult``.
    ``valid``: for GC, the attachments (container id, interface) to keep.
    """

    version: str
    network: str
    pools: tuple[str, ...] = ()
    socket: str | None = None
    ledger: str | None = None
    kube_config: str | None = None
    routes: tuple[Route, ...] | None = None
    dns: Dns = Dns()
    asked: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()
    valid: tuple[tuple[str, str], ...] = ()


def read_conf(verb: Verb, stdin: bytes) -> Conf:
    """The configuration, as far as the verb needs it. Raises Refusal in the version that it names.

    All pods of a network have the same one, so that small ones are remembered: half the time of an ADD in here.
    """
    return (_remembered_conf if len(stdin) <= REMEMBERED else _read_conf)(verb, stdin)


def _read_conf(verb: Verb, stdin: bytes) -> Conf:
    if verb is Verb.VERSION:
        return Conf(_version_wished(stdin), "")
    raw = _decode(stdin)
    version = _version(raw)
    try:
        if verb in SINCE and VERSIONS.index(version) < VERSIONS.index(SINCE[verb]):
            raise Refusal(
                Code.INCOMPATIBLE_VERSION,
                f"config version {version} does not allow {verb} (since {SINCE[verb]})",
            )
        return _conf(verb, version, raw)
    except Refusal as refusal:
        refusal.version = version
        raise


_remembered_conf = lru_cache(maxsize=256)(_read_conf)


def _version_wished(stdin: bytes) -> str:
    """What VERSION's input names, if it is one of ours: the answer does not depend on more."""
    try:
        wished = _decode(stdin).get("cniVersion")
    except Refusal:
        return LATEST
    return wished if wished in VERSIONS else LATEST


def _decode(stdin: bytes) -> dict[str, Any]:
    """JSON as RFC 8259 has it, and stricter where one text could mean two things. Raises Refusal (6)."""
    if len(stdin) > MAX_STDIN:
        raise Refusal(Code.DECODING, f"stdin is too large ({len(stdin)} bytes, at most {MAX_STDIN})")
    try:
        text = stdin.decode()
        raw = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except ValueError as e:
        what = "it is empty" if not stdin.strip() else str(e)
        raise Refusal(Code.DECODING, f"stdin is not JSON: {what}") from None
    if not isinstance(raw, dict):
        raise Refusal(Code.DECODING, "stdin: the network configuration must be an object")
    return raw


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {fields.shown(max(keys, key=keys.count))} comes twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _version(raw: Mapping[str, Any]) -> str:
    version = raw.get("cniVersion")
    if version is None or version == "":
        return UNSAID
    if not isinstance(version, str):
        fields.wrong("cniVersion", "a string", version)
    if version not in VERSIONS:
        raise Refusal(
            Code.INCOMPATIBLE_VERSION,
            f"incompatible CNI versions: config is {fields.shown(version)}, plugin supports {list(VERSIONS)}",
            dump({"supportedVersions": list(VERSIONS)}).decode().strip(),
        )
    return version


def _conf(verb: Verb, version: str, raw: Mapping[str, Any]) -> Conf:
    network = fields.text("name", raw.get("name"))
    if not network:
        raise Refusal(Code.DECODING, "name: missing (the network's name)")
    if not NAME.fullmatch(network):
        fields.invalid("name", NO_NAME, network)
    ipam = raw.get("ipam")
    if verb is Verb.DEL or verb is Verb.GC:
        ledger = ipam.get("ledger") if isinstance(ipam, dict) else raw.get("ledger")
        return Conf(
            version,
            network,
            ledger=ledger if isinstance(ledger, str) and ledger else None,
            valid=_valid(raw) if verb is Verb.GC else (),
        )
    if ipam is None and not {"ipPoolName", "ipPoolNames"}.isdisjoint(raw):
        ipam = raw  # listed directly in `plugins`, not delegated to: the keys stand at the top
    if ipam is None:
        raise Refusal(Code.DECODING, "ipam: missing")
    if not isinstance(ipam, dict):
        fields.wrong("ipam", "an object", ipam)
    routes = ipam.get("routes")
    return Conf(
        version=version,
        network=network,
        pools=_pools(ipam),
        socket=fields.text("ipam.socket", ipam.get("socket")) or None,
        ledger=fields.secret("ipam.ledger", ipam.get("ledger")) or None,
        kube_config=fields.text("ipam.kubeConfig", ipam.get("kubeConfig")) or None,
        routes=None if routes is None else _routes(routes),
        dns=_dns(ipam.get("dns")),
        asked=_asked(raw),
        previous=_previous(raw) if verb is Verb.CHECK else (),
    )


def _pools(ipam: Mapping[str, Any]) -> tuple[str, ...]:
    if "ipPoolName" not in ipam and "ipPoolNames" not in ipam:
        raise Refusal(Code.DECODING, "ipam.ipPoolName: missing (or ipam.ipPoolNames)")
    one, several = ipam.get("ipPoolName"), ipam.get("ipPoolNames")
    names = [fields.text("ipam.ipPoolName", one)] if one is not None else []
    names += fields.texts("ipam.ipPoolNames", several)
    names = list(dict.fromkeys(names))
    if not names or not all(names):
        fields.invalid("ipam.ipPoolName", "names no pool", one if several is None else several)
    return tuple(names)


def _asked(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The two conventional places for fixed addresses: ``args.cni.ips`` and the ``ips`` capability."""
    args = fields.mapped("args", raw.get("args"))
    found = _ips("args.cni.ips", fields.mapped("args.cni", args.get("cni")).get("ips"))
    found += _ips("runtimeConfig.ips", fields.mapped("runtimeConfig", raw.get("runtimeConfig")).get("ips"))
    return tuple(dict.fromkeys(found))


def _ips(field: str, value: Any) -> list[str]:
    found = []
    for i, text in enumerate(fields.texts(field, value)):
        try:
            found.append(fields.address(text))
        except ValueError:
            fields.invalid(f"{field}[{i}]", "is no IP address, with or without a prefix length", text)
    return found


def _previous(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of ``prevResult``, in the shape of any version."""
    if raw.get("prevResult") is None:
        raise Refusal(Code.DECODING, "prevResult: missing (CHECK compares with it)")
    result = fields.mapped("prevResult", raw["prevResult"])
    entries: list[tuple[str, Any]] = [
        (f"prevResult.ips[{i}].address", fields.mapped(f"prevResult.ips[{i}]", entry).get("address"))
        for i, entry in enumerate(fields.listed("prevResult.ips", result.get("ips")))
    ]
    entries += [
        (f"prevResult.{key}.ip", fields.mapped(f"prevResult.{key}", result[key]).get("ip"))
        for key in ("ip4", "ip6")
        if result.get(key) is not None
    ]
    found = []
    for field, value in entries:
        try:
            found.append(fields.address(fields.text(field, value)))
        except ValueError:
            fields.invalid(field, "is no IP address with a prefix length", value)
    return tuple(found)


def _valid(raw: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """GC's list. An empty one means that nothing is left; so does null, which is how Go writes an empty list.

    The SPEC's text and libcni disagree about the name, so libcni sends both; what either names is kept.
    """
    keys = [key for key in ("cni.dev/valid-attachments", "cni.dev/attachments") if key in raw]
    if not keys:
        raise Refusal(Code.DECODING, "cni.dev/valid-attachments: missing (nothing was collected)")
    found = []
    for key in keys:
        for i, entry in enumerate(fields.listed(key, raw[key])):
            pair = fields.mapped(f"{key}[{i}]", entry)
            found.append((_named(f"{key}[{i}]", pair, "containerID"), _named(f"{key}[{i}]", pair, "ifname")))
    return tuple(dict.fromkeys(found))


def _named(field: str, pair: Mapping[str, Any], part: str) -> str:
    """A half of an attachment's name; with one alone, what still runs would not be found in the list."""
    text = fields.text(f"{field}.{part}", pair.get(part))
    if not text:
        raise Refusal(Code.DECODING, f"{field}.{part}: missing (nothing was collected)")
    return text


def _routes(value: Any) -> tuple[Route, ...]:
    found = []
    for i, entry in enumerate(fields.listed("ipam.routes", value)):
        field = f"ipam.routes[{i}]"
        route = fields.mapped(field, entry)
        dst, gw = fields.text(f"{field}.dst", route.get("dst")), fields.text(f"{field}.gw", route.get("gw"))
        if not dst:
            raise Refusal(Code.DECODING, f"{field}.dst: missing")
        try:
            family = fields.prefix(dst)
        except ValueError:
            fields.invalid(f"{field}.dst", "is no prefix such as 10.0.0.0/8", dst)
        try:
            if gw and fields.ip_of(gw).version != family:
                fields.invalid(f"{field}.gw", f"is not of the family of {dst}", gw)
        except ValueError:
            fields.invalid(f"{field}.gw", "is no IP address", gw)
        numbers = []
        for key in ROUTE_NUMBERS:
            number = route.get(key)
            if number is None:
                continue
            if not isinstance(number, int) or isinstance(number, bool):
                fields.wrong(f"{field}.{key}", "a whole number", number)
            if not 0 <= number < 1 << 32:
                fields.invalid(f"{field}.{key}", "is out of range", number)
            numbers.append((key, number))
        found.append(Route(dst, gw or None, tuple(numbers)))
    return tuple(found)


def _dns(value: Any) -> Dns:
    raw = fields.mapped("ipam.dns", value)
    return Dns(
        nameservers=tuple(fields.texts("ipam.dns.nameservers", raw.get("nameservers"))),
        domain=fields.text("ipam.dns.domain", raw.get("domain")),
        search=tuple(fields.texts("ipam.dns.search", raw.get("search"))),
        options=tuple(fields.texts("ipam.dns.options", raw.get("options"))),
    )
