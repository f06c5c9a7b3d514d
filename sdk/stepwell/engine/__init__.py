"""The engine: a synchronous state machine over one instance.

It performs no I/O, reads no clock, draws no random number and starts no task: an event with its time goes in, actions
in order come out, and the state changes in place. `machine.handle` is the only door.
"""
