"""What every store engine keeps (registry/store.py): lists, their order and their cursors."""

from typing import Any

import pytest

from registry.records import Device, Site
from registry.store import MAX_KEY, MAX_PAGE, Delete, Put, Store
from tests.contract.samples import SURROGATE, device, site

# Lists


async def keys(store: Store, **options: Any) -> tuple[list[str], str | None]:
    page = await store.list(Site, "all", "", **options)
    return [item.record.key for item in page.items], page.next


async def test_a_list_is_in_key_order_by_code_points(store: Store) -> None:
    ids = ["b", "a", "B", "", "a-1", "ä", "\U0001f6aa", "\uffff", "a\x00", "10", "9", "a "]
    await store.batch([Put(site(id_)) for id_ in ids])
    found, cursor = await keys(store)
    assert found == sorted(ids)
    assert cursor is None
    assert (await keys(store, newest_first=True))[0] == sorted(ids, reverse=True)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_join_to_the_whole_list(store: Store, newest_first: bool, limit: int) -> None:
    ids = [f"{number:02}" for number in range(10)]
    await store.batch([Put(site(id_)) for id_ in ids])
    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page, cursor = await keys(store, after=cursor, limit=limit, newest_first=newest_first)
        assert 1 <= len(page) <= limit
        found += page
        pages += 1
    assert found == sorted(ids, reverse=newest_first)
    assert pages == -(-10 // limit)


async def test_a_full_last_page_has_no_cursor(store: Store) -> None:
    await store.batch([Put(site("a")), Put(site("b"))])
    assert await keys(store, limit=2) == (["a", "b"], None)
    assert await keys(store, limit=2, newest_first=True) == (["b", "a"], None)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_cursor_stays_good_while_records_come_and_go(store: Store, newest_first: bool) -> None:
    await store.batch([Put(site(id_)) for id_ in "bdfh"])
    first, cursor = await keys(store, limit=2, newest_first=newest_first)
    assert first == (["h", "f"] if newest_first else ["b", "d"])
    # The record the cursor names goes, and others come on both sides of it.
    await store.batch([Delete(Site, "d"), Delete(Site, "f"), *[Put(site(id_)) for id_ in "aceg"]])
    rest, cursor = await keys(store, after=cursor, limit=10, newest_first=newest_first)
    assert rest == (["e", "c", "b", "a"] if newest_first else ["e", "g", "h"])
    assert cursor is None


async def test_an_update_moves_a_record_between_index_values(store: Store) -> None:
    await store.batch([Put(device(1, site="s")), Put(device(2, site="s"))])
    await store.batch([Put(device(1, site="t"))])
    assert [item.record.mac for item in (await store.list(Device, "site", "s")).items] == [device(2).mac]
    assert [item.version for item in (await store.list(Device, "site", "t")).items] == [3]
    assert len((await store.list(Device, "all", "")).items) == 2


async def test_a_list_of_an_unknown_index_or_value_is_empty(store: Store) -> None:
    await store.batch([Put(site("a"))])
    for index, value in (("all", "x"), ("nonsense", ""), ("", ""), ("all", SURROGATE), ("all", "x" * 10_000)):
        page = await store.list(Site, index, value)
        assert (page.items, page.next) == ((), None)


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1, 2**70])
async def test_the_size_of_a_page_is_bounded(store: Store, limit: int) -> None:
    with pytest.raises(ValueError):
        await store.list(Site, "all", "", limit=limit)
    assert (await store.list(Site, "all", "", limit=MAX_PAGE)).items == ()


async def test_any_text_is_a_cursor_except_what_no_key_can_be(store: Store) -> None:
    await store.batch([Put(site("m"))])
    for after in ("", "a", "\x00", "' OR 1=1 --", "%", "\U0010ffff"):
        assert (await keys(store, after=after))[0] == (["m"] if after < "m" else [])
    for after in (SURROGATE, "x" * (MAX_KEY + 1)):
        with pytest.raises(ValueError):
            await keys(store, after=after)


@pytest.mark.parametrize("key", [SURROGATE, "x" * 100_000, "\x00", "' OR '1'='1", "a\n", "A", "a "])
async def test_a_hostile_key_finds_nothing(store: Store, key: str) -> None:
    await store.batch([Put(site("a")), Put(device(1))])
    assert await store.get(Site, key) is None
    assert await store.get_unique(Device, "account", key) is None
    page = await store.list(Device, "site", key)
    assert page.items == ()
