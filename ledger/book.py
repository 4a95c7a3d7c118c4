"""The book: allocate, release, reclaim, and the pools they happen in. Owns transactions and retry.

The public face (signatures are the contract for ``cni``, ``sync`` and ``ledger.cli``; being built):

class Book:
    def __init__(self, store: Store, *, actor: str, evidence: Evidence = NeverGone(), settings: BookSettings = BookSettings()) -> None
    # addresses
    def allocate(self, claim: Claim) -> tuple[Allocation, ...]                 # raises LedgerError; reclaims by evidence if full
    def allocate_many(self, claims: Sequence[Claim]) -> list[tuple[Allocation, ...] | LedgerError]
                                                                               # one batch; never asks for evidence: a full pool
                                                                               # is PoolExhausted in the list; raises TryAgain if
                                                                               # the database is away (then nothing was done)
    def reclaim_for(self, claim: Claim) -> tuple[Allocation, ...]              # the slow road after PoolExhausted (asks Evidence)
    def held_by(self, attachment: Attachment) -> tuple[Allocation, ...]        # what CHECK compares with
    def release(self, attachment: Attachment, *, reason: str = "del") -> list[Event]      # idempotent: [] if nothing is held
    def release_many(self, attachments: Sequence[Attachment], *, reason: str = "del") -> list[list[Event]]
    def release_ip(self, ip: str, *, pool: str | None = None, reason: str) -> Event        # by hand; UnknownAddress, NotHeld
    def collect(self, *, network: str, node: str, keep: Collection[Attachment]) -> list[Event]   # CNI GC, scoped to node + network
    def sweep(self) -> list[Event]                                             # cooling and timed holds whose time has come
    # pools
    def apply_pool(self, spec: PoolSpec) -> PoolChange                         # .action "created" | "updated" | "unchanged", .event
    def delete_pool(self, name: str) -> Event                                  # UnknownPool, PoolInUse
    def pool(self, name: str) -> PoolFigures                                   # .spec .capacity .allocated .free .held .cooling .utilization
    def pools(self) -> list[PoolFigures]
    # state of the database
    def ready(self) -> None                                                    # raises TryAgain or SchemaMismatch

Store.open(url: str, *, actor...) lives in ledger/store.py:  Store(url) / store.close()
"""
