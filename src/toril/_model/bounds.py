"""How much one call to a store may carry. The scripts of the Redis store have the same numbers."""

from typing import Final

# Jobs that one call adds, claims, reads, changes or removes.
JOBS_A_CALL: Final = 250
# Characters of data or results in one call, unless one job alone is larger.
CHARACTERS_A_CALL: Final = 1_000_000
# Jobs that a claim passes over because their names have no slot left.
LOOK_AHEAD: Final = 64
