"""What each fault means: to wait, to reconnect, or what a person has to do."""

import ssl

import hiredis
import pytest
import redis.exceptions as driver

from toril._store.redis.net.address import Address
from toril._store.redis.net.faults import PHRASES, WORDS, Fault, Kind, as_error, judge
from toril._store.redis.net.resp import ConnectionLost
from toril.errors import ConfigError, StoreCorrupt, StoreError, StoreFull, StoreUnavailable

ADDRESS = Address.of("redis://bob:hush@h")

REPLIES = [
    ("BUSY Redis is busy running a script.", Kind.PASSING),
    ("LOADING Redis is loading the dataset in memory", Kind.PASSING),
    ("TRYAGAIN Multiple keys request during rehashing of slot", Kind.PASSING),
    ("CLUSTERDOWN The cluster is down", Kind.PASSING),
    ("NOREPLICAS Not enough good replicas to write.", Kind.PASSING),
    ("UNBLOCKED client unblocked via CLIENT UNBLOCK", Kind.PASSING),
    ("MISCONF Redis is configured to save RDB snapshots, but cannot", Kind.PASSING),
    ("MASTERDOWN Link with MASTER is down", Kind.RECONNECT),
    ("READONLY You can't write against a read only replica.", Kind.RECONNECT),
    ("MOVED 3999 127.0.0.1:6381", Kind.MOVED),
    ("ASK 3999 127.0.0.1:6381", Kind.ASK),
    ("NOSCRIPT No matching script. Please use EVAL.", Kind.NO_SCRIPT),
    ("OOM command not allowed when used memory > 'maxmemory'.", Kind.FULL),
    ("NOAUTH Authentication required.", Kind.CONFIG),
    ("WRONGPASS invalid username-password pair or user is disabled.", Kind.CONFIG),
    ("NOPERM this user has no permissions to run the 'set' command", Kind.CONFIG),
    ("DENIED Redis is running in protected mode", Kind.CONFIG),
    ("CROSSSLOT Keys in request don't hash to the same slot", Kind.CONFIG),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", Kind.DAMAGE),
    ("ERR max number of clients reached", Kind.PASSING),
    ("ERR Error running script: Script killed by user with SCRIPT KILL...", Kind.PASSING),
    ("ERR Client sent AUTH, but no password is set", Kind.CONFIG),
    ("ERR AUTH <password> called without any password configured for", Kind.CONFIG),
    ("ERR invalid password", Kind.CONFIG),
    ("ERR DB index is out of range", Kind.CONFIG),
    ("ERR SELECT is not allowed in cluster mode", Kind.CONFIG),
    ("ERR The user executing the script can't run this command", Kind.CONFIG),
    ("ERR ACL failure in script: No permissions to access a key script: on @a:1.", Kind.CONFIG),
    ("ERR This instance has cluster support disabled", Kind.CONFIG),
    ("ERR Script attempted to access a non local key in a cluster node", Kind.PASSING),
    ("ERR Protocol error: invalid bulk length", Kind.VALUE),
    ("EVALSHA - all keys must map to the same key slot", Kind.CONFIG),
    ("ERR unknown command 'EVALSHA'", Kind.CONFIG),
    ("ERR user_script:3: attempt to index a nil value", Kind.SCRIPT),
    ("WHATEVER a script of its own says", Kind.SCRIPT),
    ("ERR OOM command not allowed when used memory > 'maxmemory'. script: 4cbe", Kind.FULL),
    ("ERR Error running script (call to f_0): @user_script:3: WRONGTYPE Operation", Kind.DAMAGE),
    ("ERR Error running script (call to f_0): @user_script: 1: -OOM command not", Kind.FULL),
]


@pytest.mark.parametrize(("text", "kind"), REPLIES)
def test_an_error_reply_says_what_to_do(text: str, kind: Kind) -> None:
    assert kind is judge(hiredis.ReplyError(text)).kind


def test_every_row_of_the_table_is_tried() -> None:
    said = "\n".join(text for text, _ in REPLIES)
    untried = [word for word in WORDS if f"\n{word} " not in f"\n{said}"]
    assert untried + [phrase for phrase, *_ in PHRASES if phrase not in said] == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (driver.BusyLoadingError("Redis is loading"), Kind.PASSING),
        (driver.ReadOnlyError("You can't write"), Kind.RECONNECT),
        (driver.MasterDownError("Link with MASTER is down"), Kind.RECONNECT),
        (driver.ClusterDownError("The cluster is down"), Kind.PASSING),
        (driver.TryAgainError("Multiple keys"), Kind.PASSING),
        (driver.OutOfMemoryError("command not allowed"), Kind.FULL),
        (driver.NoPermissionError("this user has no permissions"), Kind.CONFIG),
        (driver.AuthenticationError("invalid username-password pair"), Kind.CONFIG),
        (driver.NoScriptError("No matching script"), Kind.NO_SCRIPT),
        (driver.ClusterCrossSlotError("Keys in request"), Kind.CONFIG),
        (driver.ResponseError("WRONGTYPE Operation against a key"), Kind.DAMAGE),
        (driver.ConnectionError("Connection closed by server."), Kind.RECONNECT),
        (driver.RedisClusterException("Redis Cluster cannot be connected."), Kind.RECONNECT),
        (driver.RedisClusterException("all keys must map to the same key slot"), Kind.CONFIG),
        (driver.TimeoutError("Timeout reading from socket"), Kind.RECONNECT),
        (ConnectionRefusedError(111, "Connection refused"), Kind.RECONNECT),
        (TimeoutError(), Kind.RECONNECT),
        (ConnectionLost("the server closed the connection"), Kind.RECONNECT),
        (ssl.SSLCertVerificationError("self-signed"), Kind.CONFIG),
        (ssl.SSLError("wrong version number"), Kind.RECONNECT),
    ],
)
def test_an_exception_says_what_to_do(error: Exception, kind: Kind) -> None:
    assert kind is judge(error).kind


def test_a_fault_of_ours_is_not_taken_for_the_servers() -> None:
    with pytest.raises(KeyError):
        judge(KeyError("typo"))


def test_only_what_was_sent_may_have_been_done() -> None:
    assert judge(ConnectionLost("x", sent=True)).maybe_done
    assert not judge(ConnectionLost("x")).maybe_done
    assert not judge(hiredis.ReplyError("BUSY x")).maybe_done


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.PASSING, StoreUnavailable),
        (Kind.RECONNECT, StoreUnavailable),
        (Kind.MOVED, ConfigError),
        (Kind.ASK, ConfigError),
        (Kind.FULL, StoreFull),
        (Kind.CONFIG, ConfigError),
        (Kind.DAMAGE, StoreCorrupt),
        (Kind.SCRIPT, StoreError),
    ],
)
def test_every_kind_has_its_error(kind: Kind, error: type[Exception]) -> None:
    assert error is type(as_error(Fault(kind, "text"), ADDRESS, "add"))


def told(text: str, keys: str = "") -> str:
    return str(as_error(judge(hiredis.ReplyError(text)), ADDRESS, "claim", keys))


def test_a_missing_right_is_named_with_the_user() -> None:
    message = told("NOPERM this user has no permissions to run the 'evalsha' command")
    assert "give it with: ACL SETUSER bob +evalsha" in message


def test_missing_keys_are_told_with_the_user() -> None:
    message = told("NOPERM this user has no permissions to access one of the keys used")
    assert "user 'bob' may not use these keys" in message


def test_a_wrong_password_names_the_user_and_not_the_password() -> None:
    message = told("WRONGPASS invalid username-password pair")
    assert ("user 'bob'" in message, "hush" in message) == (True, False)


def test_damage_names_the_queues_keys() -> None:
    assert "one of those of bull:mail:" in told("WRONGTYPE Operation against", "bull:mail:")
