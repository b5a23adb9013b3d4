"""That the tests in the README's table of guarantees fail when what they guarantee is removed.

Each removal is one edit of the product, made in a copy; the test must then fail, and not merely break.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECIDE, EXECUTOR, DESCRIBE = "policies/decide.py", "tools/browser/executor.py", "tools/browser/describe.js"
QUESTION, PROCESS, LEDGER = "policies/question.py", "sandbox/process.py", "policies/verifier.py"

# test → (file, what stands there once, what stands there without the guarantee)
REMOVALS: dict[str, tuple[str, str, str]] = {
    "tests/policies/test_decide.py::test_without_a_rule_everything_is_refused": (
        DECIDE,
        'if not self.grants:\n            return self.deny((), f"no rule',
        'if not self.policy.name:\n            return self.deny((), f"no rule',
    ),
    "tests/policies/test_decide.py::test_a_rule_that_cannot_be_evaluated_refuses": (
        DECIDE,
        "                broken.append(rule)",
        "                pass",
    ),
    "tests/policies/test_decide.py::test_deny_wins_over_ask_wins_over_allow_in_any_order": (
        DECIDE,
        "        if self.denies:\n",
        "        if self.denies and not self.grants:\n",
    ),
    "tests/policies/test_mandate.py::test_an_effect_is_allowed_at_most_as_often_as_planned": (
        "policies/mandate.py",
        "return self.spent.get(step.n, 0) < most and",
        "return",
    ),
    "tests/policies/test_decide.py::test_after_strangers_were_read_nothing_goes_where_nobody_sent_it": (
        DECIDE,
        "return not (when.sink and self._grounded())",
        "return not when.sink",
    ),
    "tests/journeys/test_demo.py::test_the_task_is_done_and_nothing_leaves_whatever_the_model_does": (
        DECIDE,
        "return not (when.sink and self._grounded())",
        "return not when.sink",
    ),
    "tests/policies/test_gate.py::test_the_intent_is_in_the_ledger_before_the_effect_and_the_outcome_after": (
        "policies/gate.py",
        "self._commit(request, None, entry, reserve=reserved, spend=planned, planned=planned, row=decision.row)",
        "pass",
    ),
    "tests/agent/test_whole_runs.py::test_what_the_model_says_of_its_work_verifies_nothing": (
        "agent/nodes/checking.py",
        'if step.n in failed else ("not done", "")',
        'if step.n in failed else ("verified", "")',
    ),
    "tests/tools/servers/test_reaching_servers.py::test_a_changed_host_key_stops_everything_before_the_login": (
        "tools/servers/connection.py",
        "self._client.get_host_keys().add(at, kind, pinned)",
        "self._client.set_missing_host_key_policy(paramiko.client.WarningPolicy())",
    ),
    "tests/agent/store/test_questions.py::test_an_answer_that_does_not_count_changes_nothing": (
        QUESTION,
        "if unknown := set(answers) - {r.seq for r in self.rows}:",
        "if unknown := set():",
    ),
    "tests/agent/store/test_questions.py::test_a_hundred_answers_at_once_count_once": (
        QUESTION,
        "if self.closed or self.verdict(row, now) is not None:",
        "if not self.rows:",
    ),
    "tests/agent/cli/test_answers.py::test_nobody_answers_under_another_name": (
        "agent/cli/answers.py",
        "    if name not in settings.approvers:",
        "    if not name:",
    ),
    "tests/tools/browser/test_forms.py::test_every_field_is_judged_as_it_will_be_sent": (
        DESCRIBE,
        "fields: entries.map(",
        "fields: entries.slice(1).map(",
    ),
    "tests/tools/browser/test_forms.py::test_a_form_that_changed_after_it_was_judged_is_not_pressed": (
        EXECUTOR,
        "                if make(found).digest != action.digest or not found.stands(action.url):\n"
        "                    continue\n"
        "                # What stands for a token or a password may differ only on a page that we opened again.\n"
        "                if raw is not None and isinstance(action, BrowserSubmit) and found.described.raw != raw:\n"
        "                    continue\n",
        "",
    ),
    "tests/tools/browser/test_lies.py::test_a_token_that_changed_since_it_was_judged_is_not_sent": (
        EXECUTOR,
        "found.described.raw != raw:",
        "not found:",
    ),
    "tests/tools/browser/test_lies.py::test_after_a_form_has_left_its_page_changes_nothing_more": (
        "tools/browser/guard.py",
        "            return judged and not sent.changes\n",
        "            return judged\n",
    ),
    "tests/tools/browser/test_lies.py::test_a_page_that_lies_about_its_address_gets_no_password": (
        "tools/browser/describe.py",
        'locator.locator(f"{ENGINE}=").text_content(timeout',
        "locator.evaluate(script(), None, timeout",
    ),
    "tests/tools/browser/test_lies.py::test_a_secret_never_goes_into_an_address": (
        "tools/browser/describe.py",
        'if secret and d.method == "get":',
        "if secret and not d.method:",
    ),
    "tests/tools/browser/test_pages.py::test_a_secret_goes_only_where_permit_and_vault_allow": (
        EXECUTOR,
        "        if name not in permit.obligations.secrets:\n",
        "        if not name:\n",
    ),
    "tests/tools/browser/test_pages.py::test_a_typed_secret_is_never_seen_again": (
        "tools/browser/tab.py",
        '                text = original.join(re.split("".join(map(_spelled, value)), text))\n',
        "                pass\n",
    ),
    "tests/policies/redact/test_detect.py::test_a_value_is_found_exactly": (
        "policies/redact/detect/personal.py",
        'EMAIL = by_needles(Detector(type="email", pattern=linear(_EMAIL)',
        'EMAIL = by_needles(Detector(type="email", pattern=linear(b"MADEUP-nothing")',
    ),
    "tests/journeys/test_demo.py::test_the_search_for_leaks_finds_them_when_nothing_is_redacted": (
        "sandbox/practice/leaks.py",
        "if any(value in r for r in readings) or",
        "if not where and",
    ),
    "tests/agent/test_restored_values.py::"
    "test_a_handle_put_between_digits_is_refused_and_its_value_never_reaches_the_model": (
        "policies/gate.py",
        "if joined := joined_handle(text):",
        "if joined := None:",
    ),
    "tests/policies/redact/test_redactor.py::test_only_types_allowed_at_the_sink_are_restored": (
        "policies/redact/redactor.py",
        "if match[1] not in allowed or (",
        "if (",
    ),
    "tests/tools/commands/test_commands.py::test_everything_else_is_refused": (
        "tools/commands.py",
        'raise _refusal(f"shell syntax ({key}) is not accepted")',
        "return",
    ),
    "tests/tools/commands/test_commands.py::test_what_is_accepted_gives_the_same_vectors_in_bash": (
        "tools/commands.py",
        "literal += escaped or plain",
        "literal += plain",
    ),
    "tests/sandbox/test_process.py::test_a_child_sees_the_system_and_its_roots_and_nothing_else": (
        "sandbox/bwrap.py",
        'yield from ("--ro-bind", "/usr", "/usr")',
        'yield from ("--ro-bind", "/usr", "/usr", "--ro-bind", "/home", "/home")',
    ),
    "tests/sandbox/test_process.py::test_a_child_has_no_network_not_even_ours_on_loopback": (
        "sandbox/confinement.py",
        '"--unshare-all", ',
        '"--unshare-all", "--share-net", ',
    ),
    "tests/sandbox/test_process.py::test_the_whole_tree_is_killed_when_the_time_is_up": (
        PROCESS,
        "        self.kill()\n        if not all(",
        "        if not all(",
    ),
    "tests/tools/tables/test_tables.py::test_no_cell_of_a_workbook_becomes_a_formula": (
        "tools/tables.py",
        '        cell.data_type = "s"',
        "        pass",
    ),
    "tests/tools/tables/test_tables.py::test_a_hostile_workbook_is_refused_in_words": (
        "tools/table_child.py",
        "        if len(kept) > _COLUMNS:",
        "        if not kept:",
    ),
    "tests/agent/store/test_store.py::test_limits_hold_across_processes": (
        "agent/store/records.py",
        'where=_sum <= bindparam("most")',
        'where=_sum <= 1_000_000 + bindparam("most")',
    ),
    "tests/agent/store/test_checkpoints.py::test_a_process_killed_in_the_middle_of_a_run_is_continued_where_it_stood": (
        "agent/store/checkpoints.py",
        "            found = super().get_tuple(config)",
        "            found = None",
    ),
    "tests/agent/store/test_records.py::test_a_stale_epoch_writes_nothing_at_all": (
        "agent/store/ledger.py",
        "        if epoch not in (None, current):",
        "        if not run:",
    ),
    "tests/agent/store/test_ledger.py::test_a_change_of_any_column_is_found_at_its_entry": (
        LEDGER,
        '        if digest(entry, ENTRY) != entry["hash"]:',
        '        if not entry["hash"]:',
    ),
    "tests/agent/store/test_ledger.py::test_removing_moving_and_rewriting_are_found": (
        LEDGER,
        "    if index + 1 != length or prev != head:",
        "    if not run:",
    ),
    "tests/agent/cli/test_audit.py::test_a_changed_entry_is_named": (
        LEDGER,
        '        if digest(entry, ENTRY) != entry["hash"]:',
        '        if not entry["hash"]:',
    ),
    "tests/agent/store/test_signed.py::test_a_run_that_was_removed_whole_is_named": (
        "agent/store/ledger.py",
        "        gone = next((row.run for row in rows if row.run not in known), None)",
        "        gone = None",
    ),
    "tests/agent/store/test_erasure.py::test_a_value_goes_from_every_place_and_every_file_and_the_ledger_verifies": (
        "agent/store/erasure.py",
        "            self._db.remove(tables.handles, run=run.id, handle=handle)",
        "            assert handle",
    ),
    "tests/agent/store/test_contents.py::test_nothing_that_was_written_or_shown_stands_in_clear_in_any_file": (
        "agent/store/seal.py",
        'return self._head + nonce + b"|" + self._cipher',
        'return self._head + nonce + b"|" + plain + self._cipher',
    ),
    "tests/architecture/test_ways_out.py::test_nothing_leaves_this_process_but_where_it_is_listed": (
        "agent/language.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nimport subprocess as subprocess\n",
    ),
}


def _named_in_readme() -> set[str]:
    table = (ROOT / "README.md").read_text("utf-8").split("## What is guaranteed", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"`(tests/\S+::\w+)`", table))


def test_every_guarantee_has_a_removal_that_can_still_be_made() -> None:
    assert _named_in_readme() == REMOVALS.keys()
    for file, there, without in REMOVALS.values():
        assert (ROOT / file).read_text("utf-8").count(there) == 1, f"{file} does not have once: {there}"
        assert there != without


@pytest.mark.rare
@pytest.mark.timeout(240)
@pytest.mark.parametrize("test", REMOVALS, ids=lambda test: test.rpartition("::")[2])
def test_the_test_fails_when_the_guarantee_is_removed(test: str, tmp_path: Path) -> None:
    file, there, without = REMOVALS[test]
    copy = tmp_path / "without"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__"))
    edited = copy / file
    edited.write_text(edited.read_text("utf-8").replace(there, without), "utf-8")

    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1, done.stdout + done.stderr  # 1: tests ran, and some failed
    assert re.search(r"\b\d+ failed\b", done.stdout), done.stdout
