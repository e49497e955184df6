from __future__ import annotations

import pytest

from onebox.core.plugins import FAMILIES, TASKS, PluginTable, load_plugins, tasks_of_family


class Plugin:
    pass


def test_a_plugin_is_found_by_its_name():
    table: PluginTable[object] = PluginTable("task")
    plugin = table.register("a", Plugin())
    assert table["a"] is plugin
    assert (list(table), len(table), "b" in table) == (["a"], 1, False)


def test_two_plugins_of_one_name_are_refused():
    table: PluginTable[object] = PluginTable("task")
    table.register("a", Plugin())
    with pytest.raises(RuntimeError, match="two plugins are called task 'a'"):
        table.register("a", object())


def test_importing_a_plugin_twice_is_no_clash():
    table: PluginTable[object] = PluginTable("task")
    table.register("a", Plugin())
    second = table.register("a", Plugin())
    assert table["a"] is second


def test_a_frozen_table_takes_nothing_more():
    table: PluginTable[object] = PluginTable("family")
    table.freeze()
    with pytest.raises(RuntimeError, match=r"family 'late' came after start"):
        table.register("late", Plugin())


def test_the_built_in_plugins_are_loaded_and_frozen():
    load_plugins()
    load_plugins()
    assert "text-to-image" in TASKS
    with pytest.raises(RuntimeError):
        TASKS.register("late", next(iter(TASKS.values())))


def test_a_family_serves_known_tasks_only():
    load_plugins()
    for name in FAMILIES:
        assert set(tasks_of_family(name)) <= set(TASKS)
    assert tasks_of_family("nobody") == ()


def test_every_plugin_is_listed_under_its_own_name():
    load_plugins()
    assert all(task.name == name and task.summary for name, task in TASKS.items())
    assert all(family.name == name for name, family in FAMILIES.items())
