"""Testing code that adds and handles jobs: the real engine in memory, with a clock that you move.

`Harness(app)` does it in any test; the pytest fixture `toril_jobs` is one that is entered already.
"""

from toril._app.harness import Harness, TestClock

__all__ = ["Harness", "TestClock"]
