"""Chat templates are code from a checkpoint: what they may do, and what stops them."""

from __future__ import annotations

import subprocess
import sys
import threading

import psutil
import pytest

from onebox.core.errors import InvalidInput, ModelBroken
from onebox.language.prompts.templates import TemplateRaised, TemplateRenderer

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "tools": None}
FINE = "{{ messages[0].content }}!"
NESTED = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
MEMORY = (
    "{% set ns = namespace(text='x' * 1000000) %}"
    "{% for i in range(99) %}{% set ns.text = ns.text ~ ns.text %}{% endfor %}"
)
RECURSION = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"


@pytest.fixture(scope="module")
def renderer():
    made = TemplateRenderer(cpu_limit_s=0.3)
    yield made
    made.close()


def test_a_template_becomes_text(renderer):
    assert renderer.render(FINE, HELLO) == "Hello!"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}\n  {{ m.role }}\n{% endfor %}\n", "  user\n"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "Hello"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ {'é': '<b>'} | tojson }}", '{"é": "<b>"}'),
        ("{% set ns = namespace(n=1) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}", "2"),
        ("{{ dict(a=1).a }}{{ '-' * 3 }}{{ 2 * 3 }}", "1---6"),
        ("{{ strftime_now('%Y')[:2] }}", "20"),
    ],
)
def test_templates_find_what_they_are_written_for(renderer, template, expected):
    assert renderer.render(template, HELLO) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ 10 ** 9999999999 }}",
        "{{ [0] * 10**10 }}",
        "{{ '%0999999999999d' % 1 }}",
        "{{ 'a'.ljust(10**11) }}",
        NESTED,
        MEMORY,
        RECURSION,
        "{{" + "(" * 100_000 + "}}",
        "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{{ messages.__class__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('/etc/passwd').read() }}",
        "{{ strftime_now.__globals__ }}{{ strftime_now.__globals__['sys'].modules }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ self._TemplateReference__context.environment.from_string('x') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('true') }}",
        "{% if %}",
        "{{ 'x' | nothing_of_that_name }}",
    ],
)
def test_a_template_that_misbehaves_is_a_broken_model_and_the_next_one_renders(renderer, template):
    with pytest.raises(ModelBroken, match="chat template"):
        renderer.render(template, HELLO)
    assert renderer.render(FINE, HELLO) == "Hello!"


def test_a_template_that_never_ends_is_stopped_where_there_is_no_timer_of_cpu_time():
    renderer = TemplateRenderer(cpu_limit_s=60, wall_limit_s=0.3)
    try:
        with pytest.raises(ModelBroken, match="did not finish in time"):
            renderer.render(NESTED, HELLO)
    finally:
        renderer.close()


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages | length > 1 %}" + NESTED + "{% endif %}ok",
        "{% if messages | length > 1 %}" + MEMORY + "{% endif %}ok",
        "{% if messages | length > 1 %}{{ messages[1].content.x.y }}{% endif %}ok",
    ],
)
def test_messages_that_overtax_a_sound_template_are_the_clients_error(renderer, template):
    two = {"messages": HELLO["messages"] * 2, "tools": None}
    with pytest.raises(InvalidInput, match="cannot take these messages") as error:
        renderer.render(template, two)
    assert error.value.param == "messages"


def test_a_template_refuses_messages_in_its_own_words(renderer):
    with pytest.raises(TemplateRaised, match="roles must alternate") as error:
        renderer.render("{{ raise_exception('roles must alternate') }}", HELLO)
    assert error.value.param == "messages"


def test_a_text_beyond_the_limit_is_refused_before_it_is_rendered(renderer):
    large = {"messages": [{"role": "user", "content": "x" * 34_000_000}]}
    with pytest.raises(InvalidInput, match="at most"):
        renderer.render(FINE, large)


def test_half_of_a_surrogate_pair_and_line_ends_survive(renderer):
    odd = "a\r\n\u2028\ud800😀"
    assert renderer.render("{{ x }}", {"x": odd}) == odd


def test_the_child_knows_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("ONEBOX_TOKEN", "secret")
    before = {child.pid for child in psutil.Process().children()}
    renderer = TemplateRenderer()
    try:
        assert renderer.render(FINE, HELLO) == "Hello!"
        (child,) = (one for one in psutil.Process().children() if one.pid not in before)
        assert "ONEBOX_TOKEN" not in child.environ()
    finally:
        renderer.close()
    assert not child.is_running()


def test_the_child_ends_with_a_parent_that_is_killed():
    code = (
        "import psutil; from onebox.language.prompts.templates import TemplateRenderer\n"
        "renderer = TemplateRenderer(); renderer.render('x', {})\n"
        "print(psutil.Process().children()[0].pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone == [child]


def test_many_threads_share_one_renderer(renderer):
    found: dict[int, str] = {}

    def work(number: int) -> None:
        if number % 4 == 0:
            with pytest.raises(ModelBroken):
                renderer.render("{{ 1 / 0 }}", HELLO)
        found[number] = renderer.render("{{ n }}", {"n": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(8)}
