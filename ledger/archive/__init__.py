"""The ledger as one file: written as a stream, checked line by line, loaded into an empty database.

An export is JSON lines, compressed with zstd (one frame or several):

    {"format":"ipam-ledger/export/v1","schema":1,…}     the header: what it is, how many events, the signed tree head
    {"actor":…,"at":…,…,"version":1}                    an event: its leaf, byte for byte, in tree order
    {"tile":0,"root":"…"}                               after every 256 events, the Merkle root over them
    {"checkpoint":"…"}                                  a signed note, right after the last event that it covers
    {"mark":{"events":…,"root":…,"xid":…,"seq":…}}      in a followed export, after each batch: all is well up to here
    {"end":{"events":…,"root":…}}                       the trailer; without it the file was cut (a followed one has none)

So a reader needs no memory but the tree's right edge, knows every change within 256 events of where it is, and ends with
the root that the checkpoints signed. Here: ``lines`` (pure: a line and its event), ``check`` (pure: which event may
follow), ``reader``, ``writer``, ``loader``. Nothing here decides what a ledger may hold; ``ledger.replay`` does.
"""
