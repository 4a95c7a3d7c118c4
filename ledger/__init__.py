"""The book of who holds which address.

This room knows SQL; it has never heard of CNI or Kubernetes. An address changes hands only by an
event appended to the ledger, in one transaction with the change of the address's row; everything
else (live state, IPPool status, audit answers) is a projection of those events.
"""
