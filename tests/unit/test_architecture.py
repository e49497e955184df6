"""The walls of docs DESIGN §3, proved from the source text. POSIX names: see setup/."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "onebox"
MAX_LINES = 300

# Who may import whom, beside itself. `onebox` itself is the version number, free for all.
CORE = {"core"}
HARDWARE = CORE | {"hardware"}
ENGINES = HARDWARE | {"engines"}
RUNTIME = ENGINES | {"runtime"}
SERVICES = RUNTIME | {"services", "registry"}
API = SERVICES | {"api", "bootstrap", "imaging", "language", "audio"}
IMAGING = HARDWARE | {"imaging"}
LANGUAGE = IMAGING | {"language"}
AUDIO = LANGUAGE | {"audio"}
LAYERS: dict[str, set[str]] = {
    "setup": set(),
    "core": set(),
    "hardware": CORE,
    "registry": CORE,
    "imaging": HARDWARE,
    "language": IMAGING,
    "audio": AUDIO,
    "families": AUDIO,
    "tasks": AUDIO,
    "encoders": CORE,
    "engines": HARDWARE,
    "runtime": ENGINES,
    "services": RUNTIME | {"registry"},
    "bootstrap": SERVICES,
    "api": API,
    "starter": SERVICES | {"bootstrap", "imaging"},
    "cli": API | {"starter"},
    "__main__": {"cli"},
}
EXCEPTIONS = {
    ("api/compat/photos.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/prompts.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/studio_pictures.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/studio_sound.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/studio_texts.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/studio_videos.py", "tasks"): "an adapter fills in the task's Input",
    ("api/compat/try_on.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/generate.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/image_tasks.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/infer.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/tokens.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/chat.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/completions.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/images.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/image_edits.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/image_fields.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/image_variations.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/embeddings.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/responses_turn.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/speech.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/transcriptions.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/video_fields.py", "tasks"): "an adapter fills in the task's Input",
    ("api/openai/videos.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/rerank.py", "tasks"): "an adapter fills in the task's Input",
    ("api/native/similarity.py", "tasks"): "an adapter fills in the task's Input",
    ("services/live_transcription.py", "tasks"): "it fills in the task's Input",
    ("services/upstreams/openai_audio.py", "audio"): "names of languages and voices",
    ("setup/launch.py", "cli"): "its last act is to hand over to the command line",
}
HTTP = {"fastapi", "starlette"}
HEAVY = {"torch", "diffusers", "transformers", "accelerate"}
HEAVY_AT_TOP = {
    "starter/motion_model.py": "a training script, run by hand",
    "starter/motion_stages.py": "a training script, run by hand",
    "starter/motion_text.py": "a training script, run by hand",
    "starter/shapes_model.py": "a training script, run by hand",
    "starter/shapes_stages.py": "a training script, run by hand",
    "starter/train_motion.py": "a training script, run by hand",
    "starter/train_shapes.py": "a training script, run by hand",
}
LONG_FILES: dict[str, str] = {}  # file: reason

# What may be called while a module is imported: makers of constants, types and declarations.
NAMES = """
frozenset get_args len range re.compile struct.Struct Path TypeVar ParamSpec
dataclass field Field ConfigDict SettingsConfigDict AliasChoices BeforeValidator
model_validator field_validator Depends Query ByteSize plain prefixed structlog.get_logger
msgspec.Meta msgspec.msgpack.Encoder msgspec.msgpack.Decoder
msgspec.json.Encoder msgspec.json.Decoder
APIRouter router.get router.post router.delete router.put header_parameter told_file
click.group click.option click.argument click.version_option click.FloatRange click.IntRange
click.Choice click.Path click.command keys.command token.command
FAMILIES.register TASKS.register ENCODERS.register
"""
HARMLESS = set(NAMES.split())
READ = {"os.environ", "sys.argv"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources() -> list[Path]:
    return sorted(SOURCES.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "onebox":
            found |= {f"onebox.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node that runs when the module is imported: no bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*child.args.defaults, *filter(None, child.args.kw_defaults)]
            for part in [*child.decorator_list, *arguments]:
                yield part
                yield from at_import(part)
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "__name__ == '__main__'":
            continue
        yield child
        yield from at_import(child)


def own_values(module: ast.Module) -> set[str]:
    """Classes and functions of the module itself, which make its constants."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name for node in module.body if isinstance(node, kinds)}


def work_at_import(module: ast.Module) -> list[str]:
    """Calls that are not on the list, and reading of the environment."""
    allowed = HARMLESS | own_values(module)
    found = []
    for node in at_import(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in allowed:
            found.append(ast.unparse(node.func))
        elif isinstance(node, ast.Subscript | ast.Compare):
            sides = [node.value] if isinstance(node, ast.Subscript) else node.comparators
            found += [side for side in map(ast.unparse, sides) if side in READ]
    return found


def test_every_part_of_the_tree_has_its_place_in_the_table():
    parts = {layer_of(path) for path in sources()} - {"__init__"}
    assert parts <= set(LAYERS)


def test_imports_point_down():
    wrong = []
    for path in sources():
        layer = layer_of(path)
        for module in imported(ast.walk(tree(path))):
            parts = module.split(".")
            if parts[0] != "onebox" or len(parts) == 1 or parts[1] == "__version__":
                continue
            target = parts[1]
            if target != layer and target not in LAYERS.get(layer, set()):
                wrong.append((name_of(path), target))
    assert sorted(set(wrong)) == sorted(EXCEPTIONS)


def test_the_table_has_no_way_back_up():
    for layer, below in LAYERS.items():
        for target in below - {layer}:
            assert layer not in LAYERS[target], f"{layer} and {target} import each other"


def test_only_api_knows_http():
    knows = {
        name_of(path)
        for path in sources()
        if HTTP & {module.split(".")[0] for module in imported(ast.walk(tree(path)))}
    }
    assert {name for name in knows if not name.startswith("api/")} == set()


def test_heavy_packages_are_imported_inside_functions():
    heavy = {
        name_of(path)
        for path in sources()
        if HEAVY & {module.split(".")[0] for module in imported(at_import(tree(path)))}
    }
    assert heavy == set(HEAVY_AT_TOP)


def test_no_file_is_too_long():
    files = [*SOURCES.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")]
    long = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES
    }
    assert long == set(LONG_FILES)


# Values made at import by their own classes or by names that a module above imported.
CONSTANTS = {
    "core/logs.py": {"ContextVar"},
    "runtime/wire.py": {"Timing", "Origin"},
    "services/deferred_requests.py": {"Origin"},
    "services/jobs/work.py": {"Origin"},
    "services/deferral.py": {"ContextVar"},
    "services/fallbacks.py": {"ContextVar"},
    "services/upstreams/chain.py": {"ContextVar"},
    "starter/catalogue.py": {"HubModel", "Package"},
    "services/tables.py": {
        *("MetaData", "Table", "Column", "Index", "ForeignKey"),
        "String",
    },
    "tasks/picture_task.py": {"Companion"},
    "__main__.py": {"main"},
}


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_nothing_is_done_at_import(path):
    found = set(work_at_import(tree(path))) - CONSTANTS.get(name_of(path), set())
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        "settings = Settings()",
        "app = FastAPI()",
        "import subprocess\nsubprocess.run(['x'])",
        "with open('x') as file: pass",
        "text = Path('x').read_text()",
        "debug = os.environ['DEBUG']",
        "def f(x=os.getenv('X')): pass",
        "debug = 'DEBUG' in os.environ",
        "class A:\n    found = torch.cuda.is_available()",
        "if sys.platform == 'linux':\n    prepare()",
        "@cached(connect())\ndef f(): pass",
    ],
)
def test_the_lint_sees_work(line):
    assert work_at_import(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "def f(): return Settings()",
        "make = lambda: open('x')",
        "def f(environment=os.environ): return environment['X']",
        "NAME = re.compile('x')",
        "if __name__ == '__main__':\n    main()",
        "class A:\n    def f(self): self.x = open('x')",
    ],
)
def test_the_lint_lets_declarations_pass(line):
    assert work_at_import(ast.parse(line)) == []


def test_native_libraries_are_called_in_one_module():
    users = {
        name_of(path)
        for path in sources()
        if {"ctypes", "cffi", "msvcrt", "winreg"} & imported(ast.walk(tree(path)))
    }
    assert users == {"core/os_support.py"}
