"""Between the API server and the book.

IPPool objects become pool events, pods become evidence, and the ledger's state becomes IPPool
status. Only ``sync.kube`` speaks to the API server; the rest is words and decisions.
"""
