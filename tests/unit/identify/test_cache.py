from types import SimpleNamespace

from gateway.identify.cache import SignatureCache


def verified(**claims):
    return SimpleNamespace(claims=claims, principal=SimpleNamespace(token_header={"alg": "ES256"}))


def test_the_least_recently_used_leaves():
    cache = SignatureCache(max_entries=2)
    one, two, three = verified(), verified(), verified()
    cache.put(b"1", one)
    cache.put(b"2", two)
    assert cache.get(b"1") is one
    cache.put(b"3", three)
    assert cache.get(b"2") is None
    assert (cache.get(b"1"), cache.get(b"3")) == (one, three)


def test_bounded_by_bytes():
    cache = SignatureCache(max_bytes=100_000)
    for number in range(1000):
        cache.put(b"%d" % number, verified(text="x" * 2000))
        assert cache.size <= 100_000
    assert 10 < len(cache) < 50
    assert cache.get(b"999") is not None


def test_nested_claims_count():
    flat, nested = SignatureCache(), SignatureCache()
    flat.put(b"1", verified(a=[]))
    nested.put(b"1", verified(a=[[] for _ in range(1000)]))
    assert nested.size > flat.size + 50_000


def test_a_huge_entry_is_not_kept():
    cache = SignatureCache(max_bytes=100_000)
    cache.put(b"small", verified())
    cache.put(b"huge", verified(text="x" * 50_000))
    assert cache.get(b"huge") is None
    assert cache.get(b"small") is not None


def test_sizes_add_up():
    cache = SignatureCache()
    for token in (b"1", b"2", b"1", b"3"):
        cache.put(token, verified(text="x" * 100))
    for token in (b"1", b"2", b"3", b"4"):
        cache.discard(token)
    assert (len(cache), cache.size) == (0, 0)
