"""`gateway policy`: tests, faults and single requests, and what each option is good for."""

import json
import re

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main
from gateway.jose.sign import generate, sign

KEY = generate("ES256", key_id="k")
CONFIG = """\
issuers:
  dev:
    issuer: https://dev.invalid/
    audience: orders-api
    algorithms: [ES256]
    keys: {jwks_file: jwks.json}
upstreams: {orders: {url: "http://127.0.0.1:9000"}}
networks: {office: [192.0.2.0/24]}
routes:
  - {id: orders, paths: [/orders], upstream: orders}
  - {id: public, paths: "/public/{rest:path}", upstream: orders, authentication: anonymous}
  - {id: bodies, paths: /bodies, upstream: orders, authentication: anonymous, body: {max: 1KiB}}
policy: {paths: rules}
"""
POLICY = """\
package gateway.authz

import rego.v1

default allow := false

allow if input.identity.roles == ["reader"]

allow if input.route.id == "public"

allow if input.request.body.ok

reasons contains {"code": "no-role", "message": "ask for one"} if not allow

decision := {
	"allow": allow,
	"reasons": reasons,
	"response_headers": {"x-scheme": input.request.scheme, "x-from": concat(",", input.source.networks)},
}
"""
AS_JSON = ("-H", "Content-Type: application/json")
SCENARIO = """\
tokens: {reader: {claims: {roles: [reader]}}}
scenarios:
  - name: reads
    token: reader
    request: GET /orders
    expect: forwarded
"""
TESTS = """\
package gateway.authz_test

import rego.v1

import data.gateway.authz

test_reads if authz.allow with input as {"identity": {"roles": ["reader"]}}

test_table[name] := passed if {
	some name, passed in {"good": true, "bad": false, "worse": false}
}

todo_test_later if false
"""


def run(*arguments, environ=None, **more):
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], env=environ, **more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "authz.rego").write_text(POLICY)
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [KEY.public_jwk()]}))
    return tmp_path


@pytest.fixture
def tested(folder):
    (folder / "rules" / "authz_test.rego").write_text(TESTS)
    return folder


@pytest.fixture
def token(folder):
    arguments = ["--iss", "https://dev.invalid/", "--aud", "orders-api", "--sub", "alice"]
    (folder / "key.jwk").write_text(json.dumps(KEY.private_jwk()))
    arguments += ["-k", "key.jwk", "--claim", 'roles=["reader"]']
    (folder / "alice.jwt").write_text(
        CliRunner().invoke(main, ["token", "mint", *arguments]).stdout
    )
    return "alice.jwt"


class TestTests:
    def test_what_failed_is_named(self, tested):
        result = run("test")
        assert (result.exit_code, result.stderr) == (2, "")
        assert result.stdout.splitlines() == [
            "rules/authz_test.rego:9: data.gateway.authz_test.test_table: FAIL",
            "  not true: bad, worse",
            '  data.gateway.authz_test.test_table is {"bad":false,"good":true,"worse":false}'
            "  [rules/authz_test.rego:9]",
            "    body holds  [rules/authz_test.rego:10]",
            "rules/authz_test.rego:13: data.gateway.authz_test.todo_test_later: SKIP",
            "3 tests: 1 passed, 1 failed, 1 skipped",
        ]

    def test_the_cases_of_a_table_are_in_json(self, tested):
        result = run("test", "--format", "json")
        assert result.exit_code == 2
        table = json.loads(result.stdout)[1]
        assert (table["name"], table["fail"]) == ("test_table", True)
        assert table["message"] == "not true: bad, worse"

    def test_run_selects(self, tested):
        result = run("test", "--run", r"test_reads$", "-v")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            "rules/authz_test.rego:7: data.gateway.authz_test.test_reads: PASS",
            "1 test: 1 passed",
        ]

    @pytest.mark.parametrize(
        ("pattern", "code", "said"),
        [
            ("absent", 1, "no test fits --run 'absent'"),
            ("(", EXIT_USAGE, "--run: not a regular expression"),
        ],
    )
    def test_run_that_selects_nothing_is_an_error(self, tested, pattern, code, said):
        result = run("test", "--run", pattern)
        assert result.exit_code == code
        assert said in result.stderr

    @pytest.mark.parametrize(
        ("options", "code"), [((), 0), (("--fail-on-empty",), 1), (("--threshold", "1"), 2)]
    )
    def test_no_tests_at_all(self, folder, options, code):
        result = run("test", *options)
        assert (result.exit_code, result.stdout.splitlines()[0]) == (code, "0 tests")
        assert ("no tests found" in result.stderr) == (code != 2)

    @pytest.mark.parametrize(("options", "code"), [((), 2), (("-z",), 0)])
    def test_skipped_tests_are_failures_as_in_opa(self, tested, options, code):
        result = run("test", "-r", "todo|reads", *options)
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (
            code,
            "2 tests: 1 passed, 1 skipped",
        )
        assert ("unless -z is given" in result.stderr) == (code == 2)

    def test_z_forgives_no_failure(self, tested):
        assert run("test", "-z").exit_code == 2

    def test_why_a_rule_failed_is_told(self, folder):
        (folder / "rules" / "a_test.rego").write_text(
            "package a_test\n\nimport data.gateway.authz\n\n"
            'test_a if {\n\tprint("asked", input.nothing)\n'
            '\tauthz.allow with input as {"identity": {"roles": ["writer"]}}\n}\n'
        )
        lines = [line.strip() for line in run("test").stdout.splitlines()]
        assert lines[1:3] == ["undefined", "| asked <undefined>"]
        assert '`input.identity.roles == ["reader"]` does not hold  [rules/authz.rego:7]' in lines
        assert 'input.identity.roles is ["writer"]' in lines
        # What the compiler makes of `print` and `with` besides is not told.
        assert not any(line.startswith("`print(") for line in lines)
        assert sum(line.startswith("`authz.allow with") for line in lines) == 1


class TestCoverage:
    @pytest.fixture(autouse=True)
    def modules(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.rego").write_text("package a\n\nx if input.x\n")
        (tmp_path / "a_test.rego").write_text(
            "package a_test\n\ntest_x if data.a.x with input.x as true\n"
        )
        (tmp_path / "b.rego").write_text("package b\n\ny if input.y\n\nz if input.z\n")

    def test_modules_that_no_test_depends_on_are_not_covered(self):
        result = run("test", ".", "--coverage")
        assert result.stdout.splitlines()[2:] == [
            "a.rego  100.0 %",
            "b.rego    0.0 %  not 3, 5",
            "all      33.3 %  1 of 3 lines",
        ]
        assert run("test", ".", "--threshold", "33").exit_code == 0
        missed = run("test", ".", "--threshold", "34")
        assert (missed.exit_code, missed.stderr) == (2, "the coverage is below 34 %\n")

    @pytest.mark.parametrize("shape", ["junit", "github", "sarif"])
    def test_a_report_without_a_place_for_it_has_it_beside(self, shape):
        result = run("test", ".", "--coverage", "-f", shape)
        assert "33.3 %" in result.stderr
        assert "33.3 %" not in result.stdout

    def test_a_report_of_coverage_has_the_failures_beside(self, tmp_path):
        (tmp_path / "b_test.rego").write_text("package b_test\n\ntest_y if data.b.y\n")
        result = run("test", ".", "--coverage", "-f", "json")
        assert result.exit_code == 2
        assert json.loads(result.stdout)["covered_lines"] == 2
        assert "b_test.rego:3: data.b_test.test_y: FAIL" in result.stderr


class TestScenarioFilesAlone:
    @pytest.fixture(autouse=True)
    def scenarios(self, tested):
        (tested / "rules" / "a.scenario.yaml").write_text(SCENARIO)
        (tested / "b.scenario.yaml").write_text(SCENARIO.replace("reads", "also reads"))

    def test_they_run_with_the_policies_of_the_configuration(self):
        assert run("test", "b.scenario.yaml", "-v").stdout.splitlines() == [
            "b.scenario.yaml:3: also reads: PASS",
            "1 test: 1 passed",
        ]
        assert run("test", "b.scenario.yaml", "rules/a.scenario.yaml").exit_code == 0
        assert run("bench", "b.scenario.yaml", "--seconds", "0").exit_code == 0

    def test_a_folder_is_one_of_policies(self):
        assert run("test", "rules", "-z", "-r", "reads").stdout == "2 tests: 2 passed\n"


def test_outcomes_have_colours_on_terminals_only(tested, monkeypatch):
    assert "\x1b[" not in run("test").stdout
    assert "\x1b[31mFAIL\x1b[0m" in run("test", color=True).stdout
    assert "\x1b[" not in run("test", color=True, environ={"NO_COLOR": "1"}).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--path", "/orders"), "--path describes a request: give one of --token"),
        (("-X", "GET"), "--method describes a request"),
        (("-H", "a: b"), "--header describes a request"),
        (("--scheme", "http"), "--scheme describes a request"),
        (("--jwks", "jwks.json"), "--jwks describes a request"),
        (("--anonymous", "--run", "x"), "--run is about tests, and a request runs none"),
        (("--anonymous", "-v"), "--verbose is about tests"),
        (("--anonymous", "rules"), "PATHS is about tests"),
        (("--anonymous", "--token", "jwks.json"), "--token and --anonymous are different kinds"),
        (("--anonymous", "--jwks", "jwks.json"), "--jwks verifies --token"),
        (("--anonymous", "--issuer", "dev"), "--issuer is for --claims"),
        (("--issuer", "dev"), "--issuer is for --claims"),
        (("--claims", "{}", "--format", "junit"), "--format junit is for tests"),
        (("--claims", "{}", "--count", "2"), "--count is about tests"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(tested, arguments, said):
    result = run("test", *arguments)
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert said in re.sub(r"\[PATHS\]\.\.\.", "PATHS", result.stderr)


class TestPaths:
    @pytest.mark.parametrize("command", ["test", "check"])
    @pytest.mark.parametrize(
        "broken",
        [
            CONFIG.replace("jwks.json", "absent.json"),
            CONFIG.replace("jwks.json", "'${ABSENT}'"),
            CONFIG.replace("upstream: orders,", "upstream: elsewhere,"),
            CONFIG.replace("routes:", "rotues:"),
            CONFIG.replace("orders-api", "[5]"),
        ],
    )
    def test_only_the_paths_of_the_configuration_have_to_be_good(self, folder, command, broken):
        (folder / "gateway.yaml").write_text(broken)
        result = run(command)
        assert result.exit_code == 0, result.output

    @pytest.mark.parametrize(
        ("paths", "said"),
        [
            ("policy: {pahts: rules}", "policy.pahts: unknown key"),
            ("policy: {paths: 5}", "policy.paths"),
            ("policy: {paths: '${ABSENT}'}", "policy.paths"),
            ("policy: [", "gateway.yaml:"),
            ("policy: {paths: absent}", "absent: cannot be read: No such file or directory"),
        ],
    )
    def test_they_do(self, folder, paths, said):
        (folder / "gateway.yaml").write_text(CONFIG.replace("policy: {paths: rules}", paths))
        result = run("test")
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr

    def test_paths_start_at_the_folder_of_the_configuration(self, folder, monkeypatch):
        (folder / "below").mkdir()
        monkeypatch.chdir(folder / "below")
        assert run("check", "-c", "../gateway.yaml").exit_code == 0
        assert run("check", environ={"GATEWAY_CONFIG": "../gateway.yaml"}).exit_code == 0
        result = run("check", "../rules", environ={"GATEWAY_CONFIG": "absent.yaml"})
        assert result.exit_code == 0

    def test_a_configuration_that_was_named_must_be_there(self, folder):
        (folder / "gateway.yaml").unlink()
        (folder / "rules").rename(folder / "policies")
        assert run("check").exit_code == 0
        for result in (
            run("check", "-c", "gateway.yaml"),
            run("check", environ={"GATEWAY_CONFIG": "gateway.yaml"}),
        ):
            assert result.exit_code == 1
            assert "gateway.yaml: cannot be read" in result.stderr
        (folder / "policies").rename(folder / "rules")
        result = run("check")
        assert result.exit_code == EXIT_USAGE
        assert "no gateway.yaml and no policies/ here; name PATHS" in result.stderr


@pytest.mark.parametrize("command", ["test", "check"])
def test_a_folder_without_policies(folder, command):
    (folder / "empty").mkdir()
    result = run(command, "empty")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: empty: no .rego file\n"


class TestCheck:
    def test_good(self, folder):
        result = run("check")
        assert re.fullmatch(r"1 module, no fault; revision [0-9a-f]{16}\n", result.stdout)

    def test_tests_are_compiled_too(self, tested):
        assert run("check").stdout.startswith("1 module, 1 test module, no fault; ")
        assert run("check", "rules/authz_test.rego").stdout.startswith("1 test module, no fault; ")

    def test_faults(self, folder):
        (folder / "rules" / "authz.rego").write_text(POLICY + "\nbroken := \n")
        result = run("check")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("error: rules/authz.rego:")
        told = json.loads(run("check", "--format", "json").stdout)
        assert list(told["problems"][0]) == ["file", "line", "column", "key", "message", "remedy"]

    def test_what_decides_is_shown(self, folder):
        result = run("check", "-v")
        assert result.stdout.split("\n\n")[1].splitlines() == [
            "gateway/authz/decision (native) reads",
            "  input.identity.roles  rules/authz.rego:7",
            "  input.request.body.ok  rules/authz.rego:11",
            "  input.request.scheme  rules/authz.rego:18",
            "  input.route.id  rules/authz.rego:9",
            "  input.source.networks  rules/authz.rego:18",
        ]
        told = json.loads(run("check", "-v", "--format", "json").stdout)
        decided = told["entrypoints"]["gateway/authz/decision"]
        assert decided["reads"][0] == {
            "input": ["identity", "roles"], "file": "rules/authz.rego", "line": 7,
        }  # fmt: skip
        assert (decided["impure"], told["indexes"]) == ([], {})

    def test_impure_calls_and_indexes_are_shown(self, folder):
        rules = "".join(
            f'allow if {{ input.request.method == "GET"; startswith(input.request.path, "/{n}/") }}\n'
            for n in range(9)
        )
        module = f"package gateway.authz\n{rules}allow if time.now_ns() > 1\n"
        (folder / "rules" / "authz.rego").write_text(module)
        shown = run("check", "-v").stdout.split("\n\n")[1].splitlines()
        assert shown[0] == "gateway/authz/allow (native) reads"
        assert shown[-2:] == [
            "  and calls time.now_ns",
            "data.gateway.authz.allow: 10 bodies, picked by input.request.path",
        ]

    def test_fields_that_no_request_has_are_warned_of(self, folder):
        (folder / "rules" / "authz.rego").write_text(
            "package gateway.authz # gateway:ignore untested-package\n"
            "default allow := false\nallow if not input.request.pth\n"
        )
        said = "no request has input.request.pth, so it is always undefined"
        result = run("check")
        assert (result.exit_code, result.stderr) == (
            0,
            f"warning: rules/authz.rego:3:14: unknown-field: {said} (did you mean input.request.path?)\n",
        )
        told = json.loads(run("check", "--format", "json").stdout)
        assert [warning["message"] for warning in told["warnings"]] == [said]

    @pytest.mark.parametrize("line", ["dialect: envoy", "entrypoint: other/allow"])
    def test_only_of_the_rules_and_dialects_that_the_routes_name(self, folder, line):
        (folder / "rules" / "authz.rego").write_text(
            "package gateway.authz\n\nallow if not input.request.pth\n"
        )
        (folder / "rules" / "other.rego").write_text("package other\n\nallow if input.route.id\n")
        config = folder / "gateway.yaml"
        config.write_text(re.sub(r"(\{id: \w+, )", rf"\1{line}, ", config.read_text()))
        assert "unknown-field" not in run("check").stderr

    def test_code_is_no_json(self, folder):
        assert run("check", "--emit", "python", "--format", "json").exit_code == EXIT_USAGE


SCENARIOS = """\
tokens:
  zoe: {claims: {roles: [reader]}}
scenarios:
  - {name: reads, token: zoe, request: GET /orders, expect: {outcome: forwarded, subject: zoe}}
  - {name: late, token: {like: zoe, age: 1h}, request: GET /orders, expect: 401 token-expired}
  - {name: forged, token: {like: zoe, signed_by: stranger}, request: GET /orders, expect: 401}
  - {name: unsigned, token: {like: zoe, signed_by: nobody}, request: GET /orders, expect: 401}
  - name: a spoofed header does not pass
    token: zoe
    request: {path: /orders, headers: {x-auth-subject: root}}
    expect: {headers: {x-auth-subject: zoe, x-other: null}, reasons: []}
  - name: who reads
    matrix: {role: [reader, guest], path: [/orders, /public/x]}
    token: {claims: {roles: ["${role}"]}}
    request: GET ${path}
    allow: [{role: reader}, {path: /public/x}]
  - {name: a body, request: {method: POST, path: /bodies, body: {ok: true}}, expect: forwarded}
"""


class TestScenarios:
    @pytest.fixture
    def scenarios(self, folder):
        path = folder / "rules" / "orders.scenario.yaml"
        path.write_text(SCENARIOS)
        return path

    def test_all_pass(self, scenarios):
        result = run("test")
        assert (result.exit_code, result.stdout) == (0, "10 tests: 10 passed\n"), result.stdout

    def test_they_can_be_chosen(self, scenarios):
        assert run("test", "--run", "who.*guest").stdout == "2 tests: 2 passed\n"
        assert run("test", "rules/orders.scenario.yaml").exit_code == 0

    def test_each_can_be_run_several_times(self, scenarios):
        assert run("test", "--run", "reads$", "--count", "3").stdout == "3 tests: 3 passed\n"

    def test_a_failure_tells_what_was_expected_and_how_the_policy_decided(self, scenarios):
        scenarios.write_text(
            "scenarios: [{name: x, token: {claims: {roles: [guest]}}, request: GET /orders, "
            "expect: {outcome: forwarded, reasons: [], headers: {x-a: b}}}]"
        )
        result = run("test")
        lines = result.stdout.splitlines()
        assert (result.exit_code, lines[:4]) == (
            2,
            [
                "rules/orders.scenario.yaml:1: x: FAIL",
                '  outcome: expected "forwarded", got "refused"',
                '  reasons: expected [], got ["no-role"]',
                '  headers.x-a: expected "b", got null',
            ],
        )
        allowing = lines.index("      data.gateway.authz.allow is false  [rules/authz.rego:5]")
        assert lines[allowing : allowing + 4] == [
            "      data.gateway.authz.allow is false  [rules/authz.rego:5]",
            "        body  [rules/authz.rego:7]",
            '          `input.identity.roles == ["reader"]` does not hold  [rules/authz.rego:7]',
            '            input.identity.roles is ["guest"]',
        ]

    def test_a_token_in_a_file(self, scenarios, folder):
        claims = {
            "iss": "https://dev.invalid/",
            "aud": "orders-api",
            "sub": "amy",
            "roles": ["reader"],
        }
        times = {"iat": 1_790_000_000, "exp": 1_790_000_060}
        (folder / "rules" / "amy.jwt").write_text(sign({}, claims | times, KEY))
        scenarios.write_text(
            "tokens: {amy: {file: amy.jwt}}\n"
            "scenarios:\n"
            "  - {name: now, token: amy, request: GET /orders, expect: {subject: amy}}\n"
            "  - {name: later, token: amy, request: GET /orders, now: 1790000600, expect: 401}\n"
            "  - {name: none, token: {file: absent.jwt}, request: GET /orders, expect: 401}\n"
        )
        result = run("test")
        assert result.stdout.splitlines()[1:] == [
            "  rules/absent.jwt: No such file or directory",
            "3 tests: 2 passed, 1 could not run",
        ]

    def test_other_policies_with_the_same_configuration(self, scenarios, folder):
        (folder / "other").mkdir()
        (folder / "other" / "authz.rego").write_text("package gateway.authz\n\nallow := true\n")
        (folder / "other" / "orders.scenario.yaml").write_text(
            "scenarios: [{name: x, token: {}, request: GET /orders, expect: forwarded}]"
        )
        assert run("test", "other").stdout == "1 test: 1 passed\n"
        assert run("test", "other", "-c", "gateway.yaml").stdout == "1 test: 1 passed\n"

    def test_they_need_a_configuration(self, scenarios, folder):
        (folder / "gateway.yaml").unlink()
        result = run("test", "rules")
        assert (result.exit_code, result.stderr) == (
            1,
            "error: rules/orders.scenario.yaml: scenarios go through the pipeline of a "
            "configuration, and there is none (name it with --config)\n",
        )

    def test_faults_have_their_place(self, scenarios):
        scenarios.write_text("scenarios:\n  - {name: x, request: GET /, expct: 401}\n")
        result = run("test")
        assert result.exit_code == 1
        assert "rules/orders.scenario.yaml:2:" in result.stderr
        assert "did you mean 'expect'?" in result.stderr

    def test_coverage(self, scenarios, tested):
        (tested / "rules" / "authz_test.rego").unlink()
        result = run("test", "--coverage")
        assert result.stdout.splitlines()[-3:] == [
            "",
            "rules/authz.rego  100.0 %",
            "all               100.0 %  9 of 9 lines",
        ]
        assert run("test", "--coverage", "--format", "json").stdout.startswith('{\n  "files": {')
        assert run("test", "--threshold", "100").exit_code == 0
        scenarios.write_text("scenarios: [{name: x, request: GET /public/a, expect: forwarded}]")
        result = run("test", "--threshold", "100")
        assert (result.exit_code, result.stderr) == (2, "the coverage is below 100 %\n")
        assert "rules/authz.rego" in result.stdout


class TestClaims:
    CLAIMS = '{"sub": "zoe", "roles": ["reader"]}'

    def test_a_token_of_the_claims_is_made(self, folder):
        told = json.loads(
            run("test", "--claims", self.CLAIMS, "--path", "/orders", "--format", "json").stdout
        )
        assert (told["outcome"], told["subject"], told["issuer"]) == ("forwarded", "zoe", "dev")

    def test_claims_can_be_such_as_are_refused(self, folder):
        result = run("test", "--claims", '{"aud": "other"}', "--path", "/orders")
        assert result.exit_code == 2
        assert "401 audience-mismatch" in result.stdout

    def test_an_issuer_that_is_not_there(self, folder):
        result = run("test", "--claims", "{}", "--issuer", "des")
        assert result.exit_code == EXIT_USAGE
        assert "no issuer 'des'; did you mean 'dev'?" in result.stderr


class TestRequest:
    def test_allowed(self, token):
        result = run("test", "--token", token, "--path", "/orders?page=2")
        assert (result.exit_code, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert lines[0] == "forwarded: to http://127.0.0.1:9000/orders?page=2"
        assert lines[1:4] == [
            "  request   GET /orders",
            "  route     orders",
            "  subject   alice (issuer dev)",
        ]
        assert lines[4].startswith('  decision  {"allow":true,')
        assert lines.index("sent to the upstream:") < lines.index("  x-auth-subject: alice")
        assert lines.index("added to the response:") < lines.index("  x-scheme: http")

    def test_refused_by_the_policy(self, folder):
        result = run("test", "--anonymous", "--path", "/bodies", *AS_JSON, "--body", "{}")
        assert result.exit_code == 2
        lines = result.stdout.splitlines()
        assert lines[0] == "refused: 403 policy-denied: The policy refuses the request"
        assert "  subject   anonymous" in lines
        assert "  reason    no-role: ask for one" in lines

    def test_refused_before(self, folder):
        result = run("test", "--anonymous", "--path", "/orders")
        assert result.exit_code == 2
        assert result.stdout.startswith("refused: 401 token-missing: A bearer token is required\n")
        result = run("test", "--anonymous", "--path", "/absent")
        assert result.stdout.startswith("refused: 404 route-unknown: ")

    def test_json(self, token):
        result = run("test", "--token", token, "--path", "/orders", "--format", "json")
        told = json.loads(result.stdout)
        assert told["outcome"] == "forwarded"
        assert told["status"] is None
        assert (told["subject"], told["issuer"]) == ("alice", "dev")
        assert "x-auth-subject: alice" in told["headers"]
        told = json.loads(run("test", "--anonymous", "--format", "json").stdout)
        assert (told["outcome"], told["status"], told["code"]) == ("refused", 404, "route-unknown")

    def test_the_body_from_a_file(self, folder):
        (folder / "body.json").write_text('{"ok": true}')
        arguments = ("--anonymous", "--path", "/bodies", *AS_JSON)
        assert run("test", *arguments, "--body", "@body.json").exit_code == 0
        result = run("test", *arguments, "--body", "@absent.json")
        assert result.exit_code == 1
        assert "--body: absent.json: No such file or directory" in result.stderr

    def headers(self, *arguments):
        result = run("test", "--anonymous", "--path", "/public/x", "--format", "json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["response_headers"]

    def test_the_scheme_is_the_listener_s_unless_told(self, folder):
        assert "x-scheme: http" in self.headers()
        assert "x-scheme: https" in self.headers("--scheme", "https")

    def test_the_address_is_in_its_networks(self, folder):
        assert "x-from: office" in self.headers("--address", "192.0.2.7")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--address", "here"), "--address: expected an IP address"),
            (("--address", "192.0.2.0/24"), "--address: expected an IP address"),
            (("-H", "x"), "--header: expected NAME: VALUE, got 'x'"),
            (("-H", "a b: c"), "--header: expected the name of a header, got 'a b'"),
            (("-H", ": c"), "--header: expected the name of a header, got ''"),
            (("-H", "a: b\nc: d"), "--header: a: a value is one line of text"),
            (("-H", "a: \udcff"), "--header: a: a value is one line of text"),
            (("-H", "Host: x"), "--header: Host is made of the request's host"),
            (("-H", "Content-Length: 1"), "--header: Content-Length is made of the request's body"),
            (("--path", "orders"), "--path: expected path and query"),
            (("--path", "/a b"), "--path: expected path and query"),
            (("--path", "/ü"), "other characters are percent-encoded"),
            (("--path", "/\udcff"), "--path: expected path and query"),
            (("-X", "GE T"), "--method: expected a method"),
            (("-X", "get"), "--method: methods are case-sensitive (RFC 9110 §9.1): write GET"),
            (("--host", ""), "--host: expected a host"),
            (("--host", "\udcff"), "--host: expected a host"),
            (("--body", "\udcff"), "--body: not UTF-8"),
        ],
    )
    def test_what_no_listener_would_take_is_wrong_usage(self, folder, arguments, said):
        result = run("test", "--anonymous", *arguments)
        assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
        assert said in result.stderr

    def test_a_file_that_holds_no_token(self, folder):
        (folder / "binary").write_bytes(b"\xff\x00")
        result = run("test", "--token", "binary")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "error: binary: byte 1 is not ASCII; expected a token" in result.stderr

    def test_remote_keys_come_from_a_file(self, folder, token):
        text = CONFIG.replace("jwks_file: jwks.json", "discovery: true")
        (folder / "gateway.yaml").write_text(text)
        arguments = ("test", "--token", token, "--path", "/orders")
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the keys of issuer 'dev' come from the network" in result.stderr
        assert "add --jwks FILE" in result.stderr
        assert run(*arguments, "--jwks", "jwks.json").exit_code == 0
        other = {"keys": [generate("ES256", key_id="other").public_jwk()]}
        (folder / "other.json").write_text(json.dumps(other))
        result = run(*arguments, "--jwks", "other.json")
        assert result.exit_code == 2
        assert result.stdout.startswith("refused: 401 key-unknown: ")


def test_test_rules_run_wherever_they_stand(folder):
    (folder / "rules" / "helpers.rego").write_text("package helpers\n\ntest_here if false\n")
    result = run("test")
    assert result.exit_code == 2
    assert "rules/helpers.rego:3: data.helpers.test_here: FAIL" in result.stdout


def test_scenarios_of_sessions(tmp_path):
    """The token of a session decides; without one, a page leads to the login."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "authz.rego").write_text(
        'package gateway.authz\n\ndefault allow := false\n\nallow if "reader" in input.identity.roles\n'
    )
    (tmp_path / "gateway.yaml").write_text(
        """
issuers:
  corp: {issuer: "https://idp.example", audience: api, algorithms: [ES256], keys: {discovery: true}}
logins: {web: {issuer: corp, client: {id: gateway, authentication: none}}}
policy: {paths: [policies]}
routes: [{id: shop, paths: [/shop], upstream: "http://127.0.0.1:9000", login: web}]
"""
    )
    (tmp_path / "policies" / "shop.scenario.yaml").write_text(
        """
tokens: {alice: {claims: {roles: [reader]}}, bob: {claims: {roles: []}}}
scenarios:
  - {name: a session, token: alice, request: {path: /shop, session: true}, expect: forwarded}
  - {name: one that may not, token: bob, request: {path: /shop, session: true}, expect: 403 policy-denied}
  - name: another site
    token: alice
    request: {path: /shop, method: POST, session: true, headers: {origin: "https://evil.example"}}
    expect: 403 csrf-refused
  - name: a session that has ended
    request: {path: /shop, session: true, headers: {accept: text/html}}
    expect:
      status: 303
      headers: {location: "/.well-known/gateway/login/web?return_to=/shop", cookie: null}
"""
    )
    result = CliRunner().invoke(
        main, ["policy", "test", "--config", str(tmp_path / "gateway.yaml")]
    )
    assert (result.exit_code, result.stdout) == (0, "4 tests: 4 passed\n"), result.output
