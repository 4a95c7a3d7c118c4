"""Adoption: taking over what another IPAM has given out, without changing an address. Pure.

Three steps, each a file or several, and nothing of one in another:

1. A reader (``k8s_ipam``, ``whereabouts``, ``host_local``) makes records of another IPAM's objects or files: ``Found`` for each
   address, ``Problem`` for each thing that cannot be read. It raises only if nothing can be read at all. It guesses
   no owner, and leaves the source as it is.
2. ``compare`` holds what was found against the pools and the live state, and says one verdict about each.
3. ``perform`` has the book adopt those, in batches; whatever happened in between, the book's own laws hold.

What two records disagree about is never decided here: both stay as they are, and a person is told. No SQL, no command
line, no network: the live state and the objects come as arguments.
"""
