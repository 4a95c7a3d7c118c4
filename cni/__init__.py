"""Between the container runtime and the book.

Here live the words of the CNI SPEC, the socket protocol between plugin and agent, the plugin
executable and the agent. Nothing here decides who gets an address: that is the book's.
"""
