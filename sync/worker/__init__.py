"""One term of leadership: threads that watch, follow, sweep, and one that works off a queue of keys.

Whatever goes wrong, a thread logs it and goes on with back-off; whatever is missed is seen again, for every decision
starts from what is, not from what was heard. Nothing here is needed for an ADD or a DEL.

``term`` composes the parts and runs the threads. ``agenda`` is the queue. ``pictures`` is the ledger as it was followed.
``ippools`` tells the book what the objects want, ``status`` tells the objects what the ledger has, with ``notices``;
``retention`` keeps the addresses of StatefulSets, ``sweeping`` takes back those of pods that have ended. The four parts that
have a ``look`` run in the queue's one thread. Decisions are made in ``sync.reconcile`` and ``sync.project``, never here.
"""
