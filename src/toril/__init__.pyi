from toril._public import *  # noqa: F403
from toril._public import __all__ as __all__
