"""Asks a teacher, and pays for each answer once.

`client` speaks to the endpoint and is the only module that imports openai; `limits` paces the requests; `ledger`
records each answer that was paid for; `requests` puts the three together.
"""
