"""The child processes and the plan cache."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

from gateway.rego import CompileError, Policy, children, compile as compile_rego, compiler, culprit
from tests.support.rego import NOW

MODULES = {"a.rego": 'package a\np := x if { x := input.x + 1 }\nq := "é\\n"\n'}


def _decide(program):
    return Policy(program).decide("a/p", {"x": 1}, now=NOW)


def test_a_cached_plan_is_used_and_belongs_to_the_owner(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    assert _decide(compile_rego(MODULES, cache_dir=folder)) == 2
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(compiler, "ask", lambda *_: pytest.fail("compiled again"))
    assert _decide(compile_rego(MODULES, cache_dir=folder)) == 2


@pytest.mark.parametrize("damage", ["others can write", "link", "no plan", "hostile plan"])
def test_a_cache_file_that_is_not_trusted_is_not_used(tmp_path, damage):
    compile_rego(MODULES, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    if damage == "others can write":
        file.chmod(0o666)
    elif damage == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    elif damage == "no plan":
        file.write_text("{")
    else:
        file.write_text(file.read_text().replace('"target":', '"target":"1;import os",'))
    calls = []
    original = compiler.ask
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "ask", lambda *asked: calls.append(1) or original(*asked))
        assert _decide(compile_rego(MODULES, cache_dir=tmp_path)) == 2
    assert calls == [1]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert _decide(compile_rego(MODULES, cache_dir=tmp_path / "file")) == 2


def test_other_modules_have_another_plan(tmp_path):
    compile_rego(MODULES, cache_dir=tmp_path)
    compile_rego(MODULES, ["a/p"], cache_dir=tmp_path)
    compile_rego({"a.rego": MODULES["a.rego"] + "r := 1\n"}, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_large_plan_is_turned_into_code_in_another_process(monkeypatch):
    here = compile_rego(MODULES)
    monkeypatch.setattr(compiler, "LARGE_PLAN", 0)
    assert compile_rego(MODULES) == here
    with pytest.raises(CompileError, match="unknown function"):
        compile_rego({"a.rego": "package a\np if nothing(1)\n"})


def test_a_stopped_compiler_is_a_fault(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text("import os, sys\nline = sys.stdin.readline()\nos.abort()\n")
    monkeypatch.setattr(children, "WORKER", worker)
    with pytest.raises(CompileError, match="a.rego: the compiler stopped .status -6"):
        compile_rego(MODULES)


WORKER = """import json, os, sys, time
for line in sys.stdin:
    with open({log!r}, "a") as log:
        log.write("asked\\n")
    if "crash" in line:
        os.abort()
    if "hang" in line:
        time.sleep(600)
    print(json.dumps({{"faults": [[0, "no"]]}}), flush=True)
"""


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """A compiler that stops at `crash`, hangs at `hang`, and refuses all else; what it was asked."""
    log = tmp_path / "log"
    (tmp_path / "worker.py").write_text(WORKER.format(log=str(log)))
    monkeypatch.setattr(children, "WORKER", tmp_path / "worker.py")
    return log


def _units(*rules):
    return [compiler.Unit(modules={"a.rego": f"package a\n{rule}\n"}) for rule in rules]


def test_a_rule_that_the_compiler_does_not_survive_is_named(worker):
    modules = {"a.rego": "package a\np := 1\n\nq := crash\n", "b.rego": "package b\nr := 1\n"}
    with pytest.raises(CompileError) as caught:
        compile_rego(modules)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.code) == ("a.rego", 4, "compiler-crash")


def test_many_units_that_stop_the_compiler_take_few_processes(worker):
    made = compiler.compile_all(_units(*(f"crash{n} := 1" for n in range(50)), "p := 1"))
    assert all(isinstance(one, CompileError) for one in made)
    assert "too often" in str(made[-1])
    # Each unit until it was too often, and one search: without rules, and with the one rule.
    assert worker.read_text().count("asked") <= compiler.MOST_FAILURES + 2


def test_one_time_limit_is_for_all_units(worker, monkeypatch):
    monkeypatch.setattr(compiler, "WALL_SECONDS", 1.0)
    made = compiler.compile_all(_units(*(f"hang{n} := 1" for n in range(20))))
    asked = worker.read_text() if worker.exists() else ""
    assert asked.count("asked") <= 1  # for the next ones there is no time left
    assert all("did not finish in time" in str(one) for one in made)


def test_closing_ends_a_child_that_is_asked(worker):
    running = children.Children()
    running.start_ahead()
    made = []
    units = _units("hang := 1", "p := 1")
    thread = threading.Thread(
        target=lambda: made.extend(compiler.compile_all(units, children=running))
    )
    try:
        thread.start()
        limit = time.monotonic() + 60
        while not worker.exists():
            assert thread.is_alive(), "ended before it asked"
            assert time.monotonic() < limit, "the worker is never asked"
            time.sleep(0.01)
    finally:
        running.close()
    thread.join(timeout=60)  # the child itself would hang for longer
    assert not thread.is_alive()
    assert [isinstance(one, CompileError) for one in made] == [True, True]
    assert running.compile._spare is None


@pytest.mark.parametrize("rules", [2, 60])
def test_a_fault_without_a_place_gets_the_one_of_its_rule(worker, rules):
    before = "".join(f"r{n} := {n} if input.x == {n}\n" for n in range(rules))
    after = "s := 1 if r1\n"
    modules = {
        "a.rego": f"package a\n{before}p if crash\n{after}",
        "b.rego": "package b\n",
    }
    with pytest.raises(CompileError, match="the compiler stopped") as caught:
        compile_rego(modules)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.col) == ("a.rego", rules + 2, 1)
    assert problem.excerpt.startswith("p if crash")


def test_in_many_rules_none_is_searched(worker, monkeypatch):
    monkeypatch.setattr(culprit, "MOST_RULES", 1)
    with pytest.raises(CompileError, match="^a.rego: the compiler stopped"):
        compile_rego({"a.rego": "package a\nq := 1\np if crash\n"})


def test_a_compiler_that_hangs_is_stopped(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.setattr(children, "WORKER", worker)
    monkeypatch.setattr(compiler, "WALL_SECONDS", 0.2)
    with pytest.raises(CompileError, match="did not finish in time"):
        compile_rego(MODULES)


@pytest.mark.parametrize("answer", ["nonsense", "[1]", '{"plan": 1}', '{"faults": "x"}', "", "{}"])
def test_an_answer_that_is_none(monkeypatch, tmp_path, answer):
    worker = tmp_path / "worker.py"
    worker.write_text(f"import sys\nsys.stdin.readline()\nprint({answer!r})\n")
    monkeypatch.setattr(children, "WORKER", worker)
    with pytest.raises(CompileError):
        compile_rego(MODULES)


def test_the_worker_is_bounded_in_memory_and_time():
    script = (
        "import sys; sys.argv = ['', '1']; sys.path.insert(0, {folder!r}); import compile_worker as w\n"
        "w.limit(1)\n"
        "{work}\n"
    )
    folder = str(children.WORKER.parent)
    run = {"stderr": subprocess.DEVNULL, "timeout": 60}
    many = "x = bytearray(3 << 30)"
    done = subprocess.run([sys.executable, "-c", script.format(folder=folder, work=many)], **run)
    assert done.returncode != 0
    long = "while True: pass"
    done = subprocess.run([sys.executable, "-c", script.format(folder=folder, work=long)], **run)
    assert done.returncode < 0


WITHOUT_FOLDERS = """if True:
    import os, sys, tempfile
    sys.path.insert(0, {folder!r})
    import compile_worker as worker
    tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
    worker.MEMORY_FOLDER = {memory!r}
    worker.main(os.fdopen(os.dup(2), "w"))
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_machine_without_a_folder_for_temporary_files(tmp_path, there):
    """As a container with a read-only root file system: memory takes them."""
    folder, memory = str(children.WORKER.parent), str(tmp_path if there else tmp_path / "none")
    script = WITHOUT_FOLDERS.format(folder=folder, memory=memory)
    asked = {"modules": [["package a\n\np := 1\n"]], "skeleton": {}, "entrypoints": ["a/p"]}
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps({**asked, "query": None}) + "\n",
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    answer = json.loads(done.stderr)
    if there:
        assert "plan" in answer
    else:
        assert "set TMPDIR to a folder for them" in answer["faults"][0][1]
    assert os.listdir(tmp_path) == []


def test_a_machine_that_lacks_a_library_of_regopy(tmp_path, monkeypatch):
    (tmp_path / "regopy.py").write_text("raise OSError('libatomic.so.1: not there')\n")
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        f"runpy.run_path({str(children.WORKER)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(children, "WORKER", worker)
    with pytest.raises(CompileError) as caught:
        compile_rego(MODULES)
    assert "cannot be loaded: libatomic.so.1: not there" in str(caught.value)


def test_the_worker_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    compile_rego(MODULES)
    with pytest.raises(CompileError):
        compile_rego({"a.rego": "package a\np if {\n"})
    assert os.listdir(tmp_path) == []


def test_this_process_never_imports_the_compiler():
    code = (
        "import sys, gateway.rego as r; r.compile({'a': 'package a\\np := 1\\n'});"
        "assert not any(name.startswith('regopy') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_children_are_started_ahead_and_ended():
    ahead = children.Children()
    ahead.start_ahead()
    try:
        first = ahead.compile._spare
        (made,) = compiler.compile_all([compiler.Unit(modules=MODULES)], children=ahead)
        assert _decide(made) == 2
        assert not first.alive
        assert ahead.compile._spare.alive
        assert ahead.generate._spare.alive
        # One that died meanwhile is replaced.
        ahead.compile._spare._process.kill()
        ahead.compile._spare._process.wait()
        (made,) = compiler.compile_all([compiler.Unit(modules=MODULES)], children=ahead)
        assert _decide(made) == 2
    finally:
        spares = ahead.compile._spare, ahead.generate._spare
        ahead.close()
    assert not any(child.alive for child in spares)


def test_nothing_is_started_after_closing():
    ahead = children.Children()
    ahead.close()
    ahead.start_ahead()
    assert ahead.compile._spare is None
    assert ahead.generate._spare is None
    assert not ahead.generate.ahead
    with pytest.raises(OSError, match="shutdown"):
        ahead.compile.ask(b"", 1)


def test_a_child_gets_of_the_environment_what_it_needs_to_start(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("SECRET", "secret")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    said, _ = children.Kind(lambda: [sys.executable, "-I", "-c", code]).ask(b"", 60)
    assert json.loads(said)["LD_LIBRARY_PATH"] == "/nowhere"
    assert "SECRET" not in json.loads(said)


def test_the_plans_used_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler.plan_cache, "KEPT", 2)
    for number in range(3):
        compile_rego({"a.rego": f"package a\np := {number}\n"}, cache_dir=tmp_path)
        compile_rego({"a.rego": "package a\np := 0\n"}, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(compiler, "ask", lambda *_: pytest.fail("compiled again"))
    compile_rego({"a.rego": "package a\np := 0\n"}, cache_dir=tmp_path)


def test_a_plan_of_a_text_that_was_prepared_otherwise_is_not_taken(tmp_path, monkeypatch):
    modules = {"a.rego": "package a\np := 1\n"}
    compile_rego(modules, cache_dir=tmp_path)
    prepared = compiler.pieces
    monkeypatch.setattr(compiler, "pieces", lambda source: [f"{t}\n" for t in prepared(source)])
    compile_rego(modules, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("text", ["1" + " + 1" * 20_000, "{1" + " | 2" * 20_000 + "}"])
def test_an_expression_without_end_is_a_fault(text):
    with pytest.raises(CompileError, match="too long; divide it"):
        compile_rego({"a.rego": f"package a\np := {text}\n"})


def test_the_second_child_starts_before_a_large_source_is_read(monkeypatch):
    unit = compiler.Unit(modules=MODULES)
    for limit, starts in ((0, True), (compiler.LARGE_SOURCE, False)):
        monkeypatch.setattr(compiler, "LARGE_SOURCE", limit)
        own = children.Children()
        try:
            (made,) = compiler.compile_all([unit], children=own)
            assert _decide(made) == 2
            spare = own.generate._spare
            assert (spare is not None) is starts
        finally:
            own.close()
        assert spare is None or not spare.alive


def test_sources_travel_without_their_tokens():
    (source,) = compiler.read_sources(compiler.Unit(modules=MODULES))
    there = pickle.loads(pickle.dumps(source))
    assert "tokens" not in vars(there)
    assert (there.prepared, there.edits, there.package) == (
        source.prepared,
        source.edits,
        source.package,
    )
    assert there.tokens == source.tokens
