"""The bound on failed authentications."""

from gateway.core.attempts import FailedAttempts


def fail(attempts: FailedAttempts, address: str, now: float, times: int) -> int:
    """Fail until over the bound, at most so many times; return how many failures were let through."""
    let_through = 0
    for _ in range(times):
        if not attempts.is_over(address, now):
            attempts.add(address, now)
            let_through += 1
    return let_through


def test_address_is_over_after_a_second_worth_of_failures() -> None:
    attempts = FailedAttempts(per_second=50)
    assert fail(attempts, "192.0.2.1", 0.0, 1_000) == 50
    assert attempts.is_over("192.0.2.1", 0.0)
    assert not attempts.is_over("192.0.2.2", 0.0)


def test_address_gets_its_failures_back_as_time_passes() -> None:
    attempts = FailedAttempts(per_second=50)
    fail(attempts, "192.0.2.1", 0.0, 1_000)
    assert fail(attempts, "192.0.2.1", 0.1, 1_000) == 5
    assert fail(attempts, "192.0.2.1", 100.0, 1_000) == 50


def test_steady_failures_below_the_bound_are_never_refused() -> None:
    attempts = FailedAttempts(per_second=50)
    assert all(fail(attempts, "192.0.2.1", second / 49, 1) == 1 for second in range(1_000))


def test_hammering_does_not_lengthen_the_wait() -> None:
    attempts = FailedAttempts(per_second=10)
    for _ in range(1_000):
        attempts.add("192.0.2.1", 0.0)
    assert not attempts.is_over("192.0.2.1", 0.2)


def test_ipv6_addresses_of_one_network_count_together() -> None:
    attempts = FailedAttempts(per_second=2)
    for host in range(2):
        attempts.add(f"2001:db8::{host:x}", 0.0)
    assert attempts.is_over("2001:db8::ffff", 0.0)
    assert not attempts.is_over("2001:db8:0:1::1", 0.0)
    assert not attempts.is_over("not:an:address", 0.0)


def test_ipv4_addresses_written_as_ipv6_count_apart() -> None:
    attempts = FailedAttempts(per_second=1)
    attempts.add("::ffff:192.0.2.1", 0.0)
    assert attempts.is_over("192.0.2.1", 0.0)
    assert not attempts.is_over("::ffff:192.0.2.2", 0.0)


def test_memory_is_bounded() -> None:
    attempts = FailedAttempts(per_second=1, most_addresses=100)
    for number in range(1_000):
        attempts.add(f"host-{number}", 0.0)
    assert [attempts.is_over(f"host-{number}", 0.0) for number in (0, 899, 900, 999)] == [False, False, True, True]
