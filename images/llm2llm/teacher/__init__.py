"""Asking a teacher, and paying for each answer once.

`client` speaks to the endpoint and is the one module that imports openai; `limits` paces; `ledger` keeps what was paid
for; `paid` puts the three together.
"""
