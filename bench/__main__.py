"""The costs that matter, in one run: `plan()` and its stages, and the whole gateway under load.

Run: python -m bench
"""

from bench import gateway, plan

plan.main()
print()
gateway.main()
