"""A URL says where a server is; a wrong one says what to write instead, and nothing secret."""

import pytest

from toril._store.redis.net.address import Address, Tls
from toril.errors import ConfigError


def refused(url: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Address.of(url)
    return caught.value


def test_the_shortest_url_means_this_machine() -> None:
    assert Address(scheme="redis", hosts=(("localhost", 6379),)) == Address.of("redis://")


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_both_colours_are_plain_tcp(scheme: str) -> None:
    expected = Address(scheme=scheme, hosts=(("h", 7000),), db=3)
    assert expected == Address.of(f"{scheme}://h:7000/3")


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_an_s_means_tls(scheme: str) -> None:
    assert Tls() == Address.of(f"{scheme}://h").tls


def test_tls_is_set_by_the_query() -> None:
    url = "rediss://h?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false"
    expected = Tls(ca_certs="/ca", certfile="/c", keyfile="/k", check_hostname=False)
    assert expected == Address.of(url).tls


def test_odd_characters_of_a_password_are_percent_encoded() -> None:
    address = Address.of("redis://al%40ice:p%40ss%2Fw%3Ar%23d%25@h")
    assert (address.username, address.password) == ("al@ice", "p@ss/w:r#d%")


def test_a_password_may_stand_alone() -> None:
    address = Address.of("redis://:secret@h")
    assert (address.username, address.password, address.user) == (None, "secret", "default")


def test_a_user_may_need_no_password() -> None:
    address = Address.of("redis://bob@h")
    assert (address.username, address.password) == ("bob", "")


def test_a_socket_is_named_by_its_path() -> None:
    address = Address.of("unix:///run/redis.sock?db=1")
    assert (address.path, address.db, address.hosts) == ("/run/redis.sock", 1, ())


def test_an_ipv6_host_stands_in_brackets() -> None:
    assert Address.of("redis://[::1]:7000").hosts == (("::1", 7000),)


def test_sentinels_are_listed_with_the_service_that_they_watch() -> None:
    url = "redis+sentinel://u:p@a:26380,b/cards/2?sentinel_username=s&sentinel_password=t"
    expected = Address(
        scheme="redis+sentinel",
        hosts=(("a", 26380), ("b", 26379)),
        service="cards",
        db=2,
        username="u",
        password="p",
        sentinel_username="s",
        sentinel_password="t",
    )
    assert expected == Address.of(url)


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    address = Address.of("valkeys+cluster://a:7000,b:7001")
    assert (True, (("a", 7000), ("b", 7001)), Tls()) == (
        address.cluster,
        address.hosts,
        address.tls,
    )


def test_a_call_may_take_as_long_as_the_url_says() -> None:
    assert Address.of("redis://h").socket_timeout == 5.0
    assert Address.of("redis://h?socket_timeout=1.5").socket_timeout == 1.5


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://", "redis://localhost:6379/0"),
        ("redis://u:hush@h:1/2?socket_timeout=3", "redis://***@h:1/2"),
        ("redis://hush@h", "redis://***@h:6379/0"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        ("unix://:hush@/run/r.sock?db=1", "unix://***@/run/r.sock?db=1"),
        ("redis+cluster://:hush@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        ("redis+sentinel://a/cards?sentinel_password=hush", "redis+sentinel://a:26379/cards/0"),
    ],
)
def test_what_is_shown_holds_no_secret(url: str, shown: str) -> None:
    assert shown == Address.of(url).shown


def test_not_even_for_developers_is_a_password_shown() -> None:
    address = Address.of("redis+sentinel://:hush@h/cards?sentinel_password=hush")
    assert "hush" not in repr(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redsi://h", "did you mean 'redis'"),
        ("redis://h?sockettimeout=3", "did you mean 'socket_timeout'"),
        ("redis://h?ssl_ca_certs=/ca", "ssl_ca_certs needs TLS"),
        ("rediss://h?ssl_keyfile=/k", "needs ssl_certfile"),
        ("rediss://h?ssl_check_hostname=maybe", "'maybe' is not true or false"),
        ("rediss://h?ssl_cert_reqs=some", "not one of required, none"),
        ("redis://h?socket_timeout=0", "not a number of seconds above 0"),
        ("redis://h?socket_timeout=nan", "not a number of seconds above 0"),
        ("redis://h/one", "the database is not a number"),
        ("redis://h/1?db=2", "the database is named twice"),
        ("redis://a,b", "one server has one host"),
        ("redis://[::1", "IPv6 stands in [ ]"),
        ("unix://run/redis.sock", "a socket's path is absolute"),
        ("unix:///", "a socket's path is absolute"),
        ("redis+sentinel://h", "it names no service"),
        ("redis+cluster://h/1", "no database but 0"),
    ],
)
def test_a_wrong_url_is_refused_with_what_to_write(url: str, message: str) -> None:
    assert message in str(refused(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:hush",
        "redis://:hu/sh@h",
        "redis://:hu#sh@h",
        "redis://:hush@h:port",
        "redis://h/hush",
        "redis://:hush@h?wrong=1",
        "redis://:hu?sh@h",
    ],
)
def test_a_refusal_names_nothing_that_may_be_secret(url: str) -> None:
    error = refused(url)
    assert not [each for each in ("hush", "hu", "sh@") if each in f"{error} {error.value}"]
