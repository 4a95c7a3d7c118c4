"""What ADD prints (SPEC section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cni.spec.configuration import Conf, Route
from cni.spec.words import MAX_STDIN, VERSIONS, Code, Refusal, dump


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

    Raises Refusal where the version cannot carry the addresses: before 0.3.0 one of each family; and for routes and DNS
    settings that could not come back as ``prevResult``.
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
    printed = dump(said)
    if len(printed) >= MAX_STDIN:
        raise Refusal(
            Code.DECODING,
            f"ipam: the result would be too large ({len(printed)} bytes, less than {MAX_STDIN} can come back on stdin);"
            " give fewer routes",
            version=conf.version,
        )
    return printed


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
