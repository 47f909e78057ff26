"""The ledger: reserve before the provider is asked, settle when the call ends, durably and exactly once.

Read `ledger.py` first, then `writer.py` (group commit), `effects.py` (what a batch does, purely) and the two databases;
`known.py` is how PostgreSQL is spared reading.
"""
