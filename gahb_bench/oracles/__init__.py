"""What is best for a family: one file a family, named like it; oracles for any family in files of their own.

A family's file holds its oracle denoisers (classes) and these functions:

    reference(family, sigmas) -> Reference            the least possible MSE, and how surely it is known
    defaults(family) -> list[str]                     the oracles a run shows unless told otherwise
    mutual_information(family, sigmas) -> array       optional: I(x; y) in nats, where it is known
    independent_route(family) -> list[Check]          optional: the oracle against another route on a tiny case
"""
