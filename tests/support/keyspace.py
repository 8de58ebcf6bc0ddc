"""What stands in Redis under a prefix, read by plain commands and written so that it compares."""

from typing import Any

import redis

# Bookkeeping of answered calls: there are more of them when a call had to go twice.
CALLS = ":toril:call:"


def keys(client: "redis.Redis", prefix: str) -> list[str]:
    """Name every key under a prefix, sorted."""
    return sorted(client.scan_iter(match=f"{prefix.replace('{', '[{]')}:*", count=1000))


def keyspace(client: "redis.Redis", prefix: str) -> dict[str, Any]:
    """Give what is under a prefix, the prefix written as P; ids of streams are left out."""
    return {
        _shown(key, prefix): _shown(_value(client, key), prefix)
        for key in keys(client, prefix)
        if CALLS not in key
    }


def _value(client: "redis.Redis", key: str) -> Any:
    lasts = "for a time" if client.pttl(key) > 0 else "for ever"
    match client.type(key):
        case "string":
            return lasts, client.get(key)
        case "list":
            return lasts, client.lrange(key, 0, -1)
        case "set":
            return lasts, sorted(client.smembers(key))
        case "zset":
            return lasts, client.zrange(key, 0, -1, withscores=True)
        case "hash":
            return lasts, client.hgetall(key)
        case "stream":
            return lasts, [fields for _, fields in client.xrange(key)]
        case other:
            raise AssertionError(f"{key} is a {other}")


def _shown(value: Any, prefix: str) -> Any:
    """Write the prefix as P wherever it stands."""
    match value:
        case str():
            return value.replace(prefix, "P")
        case dict():
            return {_shown(name, prefix): _shown(each, prefix) for name, each in value.items()}
        case list() | tuple():
            return [_shown(each, prefix) for each in value]
        case _:
            return value
