"""GHL and Notion as small local servers that behave, and misbehave, like the real ones.

For demos, tests, crash tests and benchmarks: state lives in memory, all data is invented, and nothing here imports the product.
"""
