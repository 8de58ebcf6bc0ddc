"""toril in web frameworks; each module needs its framework, which toril does not install."""
