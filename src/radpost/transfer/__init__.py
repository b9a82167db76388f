"""The heart, sans-I/O: state machines of what goes out and what comes in (DESIGN 4).

Every machine is ``decide(state, event, now, policy, jitter) -> (state, actions)``: a pure function over
frozen values of fixed size. Times are seconds since the epoch. See docs/explanation/transfer.md.
"""
