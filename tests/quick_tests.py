"""Which tests `make test` runs."""

from __future__ import annotations

QUICK_INTEGRATION_TESTS = {
    "test_import_main_job": (
        "test_tree_becomes_patients_and_pictures_once",
        "test_lost_answers_do_not_double_an_image",
    ),
    "test_import_identity": ("test_file_of_another_patient_is_held",),
    "test_task_control": (
        "test_pause_outlives_a_restart",
        "test_backend_that_is_down_pauses_the_task_and_fails_no_file",
    ),
    "test_render_pool": (
        "test_a_crash_costs_exactly_its_own_file_among_several_in_flight",
        "test_a_reply_that_is_no_data_is_not_executed",
    ),
    "test_dry_run": ("test_dry_run_foretells_the_import_and_writes_nothing",),
    "test_verify": ("test_everything_is_there_after_an_import",),
    "test_month_board": ("test_a_month_is_done_when_nothing_of_it_failed",),
    "test_http_api": ("test_status_has_the_fields_of_the_document", "test_report_in_three_forms"),
    "test_live_push": ("test_an_import_is_watched_from_snapshot_to_end",),
    "test_who_may_do_what": (
        "test_key_guards_everything_but_health",
        "test_nothing_of_a_patient_in_logs_or_errors",
    ),
    "test_cli": ("test_failed_files_end_with_3_and_with_what_to_do",),
}
"""Each promise once, on the newest contract. With tests/unit they are `make test`; all others are marked slow."""

OLDER_CONTRACTS = ("C1", "C2", "C3")

SLOW_UNIT_FILES = ("test_benchmarks", "test_damaged_history", "test_odd_replies")
"""They take as long as all other unit tests together."""
