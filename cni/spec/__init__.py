"""The words of the CNI SPEC: versions, what a runtime says, and how results and errors look. Pure.

``Call.from_raw`` is where raw text stops: what it returns is checked, and what it cannot take it raises as a
``Refusal`` with the SPEC's error code. Section numbers are those of SPEC 1.1.0.
"""

from cni.spec.call import Call
from cni.spec.configuration import Conf, Dns, Route
from cni.spec.environment import NEEDS, Pod
from cni.spec.results import Address, result
from cni.spec.words import LATEST, MAX_STDIN, VERSIONS, Code, Refusal, Verb, versions

__all__ = [
    "LATEST", "MAX_STDIN", "NEEDS", "VERSIONS", "Address", "Call", "Code", "Conf", "Dns", "Pod", "Refusal", "Route", "Verb",
    "result", "versions",
]  # fmt: skip
