"""The words of the CNI SPEC: versions, what a runtime says, and how results and errors look. Pure.

``Call.from_raw`` is where raw text stops: what it returns is checked, and what it cannot take it raises as a
``Refusal`` with the SPEC's error code. Section numbers are those of SPEC 1.1.0.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, NoReturn

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LATEST = VERSIONS[-1]
UNSAID = "0.1.0"
"""The version of a configuration that names none."""

MAX_STDIN = 1 << 20

REMEMBERED = 4096
"""Bytes up to which a configuration is remembered."""

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,252}")
"""Container ids and network names (sections 1 and 2). The length is ours: longer ones would not fit an index."""

NO_NAME = "must be a letter or digit, then letters, digits, '_', '.' or '-', at most 253 in all"

IF_NAME = re.compile(r"[^\s/:\x00]{1,15}")


class Verb(StrEnum):
    """CNI_COMMAND (section 2)."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


class Code(IntEnum):
    """Error codes: the SPEC's below 100, ours above (interface.md)."""

    INCOMPATIBLE_VERSION = 1
    ENVIRONMENT = 4
    DECODING = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    LIMITED = 51
    POOL_EXHAUSTED = 100
    ADDRESS_UNAVAILABLE = 101
    CHECK_FAILED = 110
    INTERNAL = 199


NEEDS: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.GC: (),
    Verb.STATUS: (),
    Verb.VERSION: (),
}
"""What a verb requires besides CNI_COMMAND (section 3). Not CNI_PATH, though the SPEC lists it for GC and
STATUS: we execute no other plugin."""

OWNER = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID")
"""What of CNI_ARGS goes into the ledger."""

SINCE: Mapping[Verb, str] = {Verb.CHECK: "0.4.0", Verb.GC: "1.1.0", Verb.STATUS: "1.1.0"}
"""The version that brought a verb; 0.1.0 where none is given."""

ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")
"""Numbers of a route that 1.1.0 brought."""


class Refusal(Exception):
    """What the runtime gets instead of a result: an error code, a message, details, and the version to say it in."""

    def __init__(self, code: int, msg: str, details: str = "", *, version: str = LATEST) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details
        self.version = version

    def to_json(self) -> bytes:
        """The SPEC's error object (section 5)."""
        said: dict[str, Any] = {"cniVersion": self.version, "code": int(self.code), "msg": self.msg}
        if self.details:
            said["details"] = self.details
        return dump(said)


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
class Pod:
    """Who asks, from CNI_ARGS; each None where the runtime did not say. podman gives only a name."""

    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    infra_container_id: str | None = None
    asked: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of the plugin. ``container_id``, ``if_name`` and ``netns`` are empty for GC and STATUS."""

    verb: Verb
    container_id: str
    if_name: str
    netns: str
    pod: Pod
    conf: Conf

    @classmethod
    def from_raw(cls, env: Mapping[str, str], stdin: bytes) -> Call:
        """What the runtime said. Raises Refusal.

        A DEL is read with tolerance: whatever does not name the attachment cannot make it fail, since no
        ADD can have succeeded with it, and a runtime repeats a failed DEL for ever.
        """
        verb = _verb(env)
        missing = [name for name in NEEDS[verb] if not env.get(name)]
        if missing:
            raise Refusal(Code.ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
        try:
            conf = read_conf(verb, stdin)
        except RecursionError:
            raise Refusal(Code.DECODING, "stdin is not JSON for us: nested too deeply") from None
        try:
            return cls(
                verb=verb,
                container_id=_container_id(env) if NEEDS[verb] else "",
                if_name=_if_name(env) if NEEDS[verb] else "",
                netns=env.get("CNI_NETNS", ""),
                pod=_pod(env.get("CNI_ARGS", "")) if verb is Verb.ADD else Pod(),
                conf=conf,
            )
        except Refusal as refusal:
            refusal.version = conf.version
            raise


def _verb(env: Mapping[str, str]) -> Verb:
    said = env.get("CNI_COMMAND", "")
    if not said:
        raise Refusal(Code.ENVIRONMENT, "required env variables [CNI_COMMAND] missing")
    try:
        return Verb(said)
    except ValueError:
        raise Refusal(Code.ENVIRONMENT, f"unknown CNI_COMMAND: {_shown(said)}") from None


def _container_id(env: Mapping[str, str]) -> str:
    value = env["CNI_CONTAINERID"]
    if not NAME.fullmatch(value):
        raise Refusal(Code.ENVIRONMENT, f"CNI_CONTAINERID: {NO_NAME} (got {_shown(value)})")
    return value


def _if_name(env: Mapping[str, str]) -> str:
    value = env["CNI_IFNAME"]
    if not IF_NAME.fullmatch(value) or value in (".", "..") or not value.isprintable():
        raise Refusal(
            Code.ENVIRONMENT,
            f"CNI_IFNAME: no interface name: 1 to 15 characters without '/', ':' and space, not '.' or '..' (got {_shown(value)})",
        )
    return value


def _pod(args: str) -> Pod:
    """CNI_ARGS (section 2): ``KEY=VALUE`` by semicolons. Unknown keys are somebody else's."""
    said: dict[str, str] = {}
    for pair in filter(None, args.split(";")):
        key, eq, value = pair.partition("=")
        if not eq or not key:
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: {_shown(pair)} is no KEY=VALUE")
        said[key] = value
    for key, value in said.items():
        # The slash separates namespace and pod in the ledger's owner keys; no Kubernetes name holds one.
        if key in OWNER and ("/" in value or len(value) > 253 or not value.isprintable()):
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: {key} is no name (got {_shown(value)})")
    asked = []
    for ip in filter(None, said.get("IP", "").split(",")):
        try:
            asked.append(address(ip))
        except ValueError:
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: IP={_shown(ip)} is no IP address") from None
    return Pod(
        namespace=said.get("K8S_POD_NAMESPACE") or None,
        name=said.get("K8S_POD_NAME") or None,
        uid=said.get("K8S_POD_UID") or None,
        infra_container_id=said.get("K8S_POD_INFRA_CONTAINER_ID") or None,
        asked=tuple(dict.fromkeys(asked)),
    )


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
        raise ValueError(f"key {_shown(max(keys, key=keys.count))} comes twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _version(raw: Mapping[str, Any]) -> str:
    version = raw.get("cniVersion")
    if version is None or version == "":
        return UNSAID
    if not isinstance(version, str):
        _wrong("cniVersion", "a string", version)
    if version not in VERSIONS:
        raise Refusal(
            Code.INCOMPATIBLE_VERSION,
            f"incompatible CNI versions: config is {_shown(version)}, plugin supports {list(VERSIONS)}",
            dump({"supportedVersions": list(VERSIONS)}).decode().strip(),
        )
    return version


def _conf(verb: Verb, version: str, raw: Mapping[str, Any]) -> Conf:
    network = _text("name", raw.get("name"))
    if not network:
        raise Refusal(Code.DECODING, "name: missing (the network's name)")
    if not NAME.fullmatch(network):
        _invalid("name", NO_NAME, network)
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
        _wrong("ipam", "an object", ipam)
    routes = ipam.get("routes")
    return Conf(
        version=version,
        network=network,
        pools=_pools(ipam),
        socket=_text("ipam.socket", ipam.get("socket")) or None,
        ledger=_secret("ipam.ledger", ipam.get("ledger")) or None,
        kube_config=_text("ipam.kubeConfig", ipam.get("kubeConfig")) or None,
        routes=None if routes is None else _routes(routes),
        dns=_dns(ipam.get("dns")),
        asked=_asked(raw),
        previous=_previous(raw) if verb is Verb.CHECK else (),
    )


def _pools(ipam: Mapping[str, Any]) -> tuple[str, ...]:
    if "ipPoolName" not in ipam and "ipPoolNames" not in ipam:
        raise Refusal(Code.DECODING, "ipam.ipPoolName: missing (or ipam.ipPoolNames)")
    one, several = ipam.get("ipPoolName"), ipam.get("ipPoolNames")
    names = [_text("ipam.ipPoolName", one)] if one is not None else []
    names += _texts("ipam.ipPoolNames", several)
    names = list(dict.fromkeys(names))
    if not names or not all(names):
        _invalid("ipam.ipPoolName", "names no pool", one if several is None else several)
    return tuple(names)


def _asked(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The two conventional places for fixed addresses: ``args.cni.ips`` and the ``ips`` capability."""
    args = _dict("args", raw.get("args"))
    found = _ips("args.cni.ips", _dict("args.cni", args.get("cni")).get("ips"))
    found += _ips("runtimeConfig.ips", _dict("runtimeConfig", raw.get("runtimeConfig")).get("ips"))
    return tuple(dict.fromkeys(found))


def _ips(field: str, value: Any) -> list[str]:
    found = []
    for i, text in enumerate(_texts(field, value)):
        try:
            found.append(address(text))
        except ValueError:
            _invalid(f"{field}[{i}]", "is no IP address, with or without a prefix length", text)
    return found


def _previous(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of ``prevResult``, in the shape of any version."""
    if raw.get("prevResult") is None:
        raise Refusal(Code.DECODING, "prevResult: missing (CHECK compares with it)")
    result = _dict("prevResult", raw["prevResult"])
    entries: list[tuple[str, Any]] = [
        (f"prevResult.ips[{i}].address", _dict(f"prevResult.ips[{i}]", entry).get("address"))
        for i, entry in enumerate(_list("prevResult.ips", result.get("ips")))
    ]
    entries += [
        (f"prevResult.{key}.ip", _dict(f"prevResult.{key}", result[key]).get("ip"))
        for key in ("ip4", "ip6")
        if result.get(key) is not None
    ]
    found = []
    for field, value in entries:
        try:
            found.append(address(_text(field, value)))
        except ValueError:
            _invalid(field, "is no IP address with a prefix length", value)
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
        for i, entry in enumerate(_list(key, raw[key])):
            pair = _dict(f"{key}[{i}]", entry)
            container_id = _text(f"{key}[{i}].containerID", pair.get("containerID"))
            if not container_id:
                raise Refusal(Code.DECODING, f"{key}[{i}].containerID: missing (nothing was collected)")
            found.append((container_id, _text(f"{key}[{i}].ifname", pair.get("ifname"))))
    return tuple(dict.fromkeys(found))


def _routes(value: Any) -> tuple[Route, ...]:
    found = []
    for i, entry in enumerate(_list("ipam.routes", value)):
        field = f"ipam.routes[{i}]"
        route = _dict(field, entry)
        dst, gw = _text(f"{field}.dst", route.get("dst")), _text(f"{field}.gw", route.get("gw"))
        if not dst:
            raise Refusal(Code.DECODING, f"{field}.dst: missing")
        try:
            family = _prefix(dst)
        except ValueError:
            _invalid(f"{field}.dst", "is no prefix such as 10.0.0.0/8", dst)
        try:
            if gw and _ip(gw).version != family:
                _invalid(f"{field}.gw", f"is not of the family of {dst}", gw)
        except ValueError:
            _invalid(f"{field}.gw", "is no IP address", gw)
        numbers = []
        for key in ROUTE_NUMBERS:
            number = route.get(key)
            if number is None:
                continue
            if not isinstance(number, int) or isinstance(number, bool):
                _wrong(f"{field}.{key}", "a whole number", number)
            if not 0 <= number < 1 << 32:
                _invalid(f"{field}.{key}", "is out of range", number)
            numbers.append((key, number))
        found.append(Route(dst, gw or None, tuple(numbers)))
    return tuple(found)


def _dns(value: Any) -> Dns:
    raw = _dict("ipam.dns", value)
    return Dns(
        nameservers=tuple(_texts("ipam.dns.nameservers", raw.get("nameservers"))),
        domain=_text("ipam.dns.domain", raw.get("domain")),
        search=tuple(_texts("ipam.dns.search", raw.get("search"))),
        options=tuple(_texts("ipam.dns.options", raw.get("options"))),
    )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in text:
        raise ValueError("a zone is no part of an address")
    return ipaddress.ip_address(text)


def _prefix(text: str) -> int:
    """The family of ``address/length``; host bits may be set, as Go's ParseCIDR lets them."""
    ip, slash, length = text.partition("/")
    found = _ip(ip)
    if not slash or not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > found.max_prefixlen:
        raise ValueError(f"{text!r} is no prefix")
    return found.version


def address(text: str) -> str:
    """An IP address in its canonical form, without the prefix length that may follow it. Raises ValueError."""
    if "/" in text:
        _prefix(text)
    return str(_ip(text.partition("/")[0]))


def _text(field: str, value: Any) -> str:
    """A string that can be stored and printed; "" for absent and null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        _wrong(field, "a string", value)
    if not value.isprintable():  # NUL, lone surrogates, line breaks
        _invalid(field, "is not printable text", value)
    return value


def _secret(field: str, value: Any) -> str:
    """The same for what may hold a password: it is not shown."""
    try:
        return _text(field, value)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{field}: must be a string of printable text") from None


def _texts(field: str, value: Any) -> list[str]:
    return [_text(f"{field}[{i}]", entry) for i, entry in enumerate(_list(field, value))]


def _list(field: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        _wrong(field, "a list", value)
    return value


def _dict(field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _wrong(field, "an object", value)
    return value


def _wrong(field: str, kind: str, value: Any) -> NoReturn:
    raise Refusal(Code.DECODING, f"{field}: must be {kind} (got {_shown(value)})")


def _invalid(field: str, why: str, value: Any) -> NoReturn:
    raise Refusal(Code.INVALID_CONFIG, f"{field}: {why} (got {_shown(value)})")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 120 else text[:117] + "..."


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a result; ``gateway`` may be None."""

    ip: str
    prefix_length: int
    gateway: str | None

    @property
    def family(self) -> int:
        return 6 if ":" in self.ip else 4


def result(conf: Conf, addresses: Sequence[Address]) -> bytes:
    """What ADD prints: an IPAM plugin's abbreviated result (section 5, "Delegated plugins"), without interfaces.

    Raises Refusal where the version cannot carry the addresses: before 0.3.0 one of each family.
    """
    routes = default_routes(addresses) if conf.routes is None else conf.routes
    said: dict[str, Any] = {"cniVersion": conf.version}
    if conf.version in ("0.1.0", "0.2.0"):
        for family in (4, 6):
            found = [a for a in addresses if a.family == family]
            if len(found) > 1:
                raise Refusal(
                    Code.INVALID_CONFIG,
                    f"cniVersion {conf.version} carries one IPv{family} address, and these pools give {len(found)};"
                    " use 0.3.0 or later",
                    version=conf.version,
                )
            if found:
                said[f"ip{family}"] = {
                    "ip": f"{found[0].ip}/{found[0].prefix_length}",
                    **_gateway(found[0]),
                    "routes": [
                        _route(r, conf.version) for r in routes if (6 if ":" in r.dst else 4) == family
                    ],
                }
    else:
        numbered = conf.version in ("0.3.0", "0.3.1", "0.4.0")
        said["ips"] = [
            {
                **({"version": str(a.family)} if numbered else {}),
                "address": f"{a.ip}/{a.prefix_length}",
                **_gateway(a),
            }
            for a in addresses
        ]
        said["routes"] = [_route(r, conf.version) for r in routes]
    said["dns"] = conf.dns.to_json()
    return dump(said)


def default_routes(addresses: Iterable[Address]) -> tuple[Route, ...]:
    """A default route for each family, by the first gateway there is."""
    found: dict[int, Route] = {}
    for a in addresses:
        if a.gateway is not None and a.family not in found:
            found[a.family] = Route("0.0.0.0/0" if a.family == 4 else "::/0", a.gateway)
    return tuple(found.values())


def _gateway(a: Address) -> dict[str, str]:
    return {} if a.gateway is None else {"gateway": a.gateway}


def _route(route: Route, version: str) -> dict[str, Any]:
    said: dict[str, Any] = {"dst": route.dst}
    if route.gw is not None:
        said["gw"] = route.gw
    if version not in VERSIONS[:-1]:
        said.update(route.numbers)
    return said


def versions(asked: str = LATEST) -> bytes:
    """What VERSION prints; ``asked`` is the version of the input."""
    return dump({"cniVersion": asked if asked in VERSIONS else LATEST, "supportedVersions": list(VERSIONS)})


def dump(value: Any) -> bytes:
    """One line of JSON, in ASCII, so that no locale on the way can spoil it."""
    return json.dumps(value).encode() + b"\n"
