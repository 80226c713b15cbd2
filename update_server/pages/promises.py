"""What the privacy page promises, each with the test that fails where it does not hold.

``docs/promises.md`` is made from this, and ``tests/update_server/pages/test_promises.py`` sees to it that every test is there.
"""

from __future__ import annotations

from msgspec import Struct


class Promise(Struct, frozen=True):
    """A promise in a sentence or two, code in backticks, and the tests that hold it, as pytest names them under ``tests/``."""

    text: str
    tests: tuple[str, ...]


class Group(Struct, frozen=True):
    """Promises about one thing. ``key``: under which the page finds them."""

    key: str
    title: str
    promises: tuple[Promise, ...]


PROMISES: tuple[Group, ...] = (
    Group(
        "consent",
        "Nothing without a yes",
        (
            Promise(
                "Without your consent nothing leaves but the question for updates, which is the same for everybody.",
                (
                    "napari_update_hook/test_client.py::test_without_consent_nothing_but_the_get_goes_out",
                    "end_to_end/test_whole_loop.py::test_batches_went_out_where_a_consent_record_said_so_and_nowhere_else",
                ),
            ),
            Promise(
                "Nothing is collected below the level that you chose, not even on your own computer.",
                ("napari_update_hook/test_collect.py::test_below_level_full_nothing_is_counted_or_written",),
            ),
            Promise(
                "Nothing from before your consent is ever sent.",
                ("napari_update_hook/test_telemetry.py::test_nothing_from_before_a_consent_is_ever_sent",),
            ),
            Promise(
                "Your consent is for one service, for the time that you said, and for the fields that you saw. A program that "
                "collects more asks you anew, and sends nothing until you have answered.",
                (
                    "napari_update_hook/test_decision.py::test_consent_holds_for_one_service_alone",
                    "napari_update_hook/test_decision.py::test_consent_for_a_time_ends",
                    "napari_update_hook/test_asking.py::test_a_grown_schema_stops_everything_until_it_is_answered",
                ),
            ),
            Promise(
                "You are asked at most three times, and no is an answer.",
                (
                    "napari_update_hook/test_asking.py::test_unanswered_it_is_asked_again_after_30_days_three_times_in_all",
                    "napari_update_hook/test_asking.py::test_no_stays_no_also_elsewhere_and_for_a_larger_schema",
                ),
            ),
            Promise(
                "Nothing of it runs in napari unless you start it there.",
                ("inside_napari/test_starting.py::test_plain_napari_runs_and_imports_nothing_of_ours",),
            ),
        ),
    ),
    Group(
        "sent",
        "What is sent",
        (
            Promise(
                "What you are shown before is what is sent, and what was sent is kept on your disk for you to check.",
                (
                    "napari_update_hook/test_telemetry.py::test_with_consent_the_report_goes_with_the_check_exactly_as_previewed",
                ),
            ),
            Promise(
                "Every text in a report is on a public list; your computer leaves out the rest, and so does the server.",
                (
                    "napari_update_hook/test_report.py::test_nothing_private_ever_appears",
                    "update_server/intake/test_routes.py::test_what_is_on_no_public_list_reaches_no_store",
                    "end_to_end/test_whole_loop.py::test_nothing_private_reached_the_server",
                ),
            ),
            Promise(
                "Counts are rounded down on your computer.",
                ("napari_update_hook/test_report.py::test_counts_are_rounded_down",),
            ),
            Promise(
                "A field above the level is refused, and nothing of the request is stored.",
                ("update_server/intake/test_routes.py::test_a_bad_batch_is_a_problem_and_nothing_is_stored",),
            ),
            Promise(
                "The identifier is another one every week and for every service, made from a secret that never leaves your "
                "computer.",
                (
                    "napari_update_hook/test_identity.py::"
                    "test_it_is_the_same_all_week_and_another_for_every_week_service_and_account",
                ),
            ),
            Promise(
                "One request tells of one week.",
                (
                    "napari_update_hook/test_telemetry.py::test_one_request_tells_of_one_week_and_the_one_that_is_over_goes_first",
                ),
            ),
            Promise(
                "No cookie is taken, and no answer is used to mark your computer.",
                (
                    "napari_update_hook/test_transport.py::test_a_cookie_is_not_even_kept_from_one_request_to_the_next",
                    "napari_update_hook/test_client.py::test_the_etag_is_computed_here_and_never_what_a_server_handed_out",
                ),
            ),
        ),
    ),
    Group(
        "kept",
        "What is kept",
        (
            Promise(
                "A report is deleted 60 days after its week began, whatever else fails.",
                (
                    "aggregation/test_retention.py::test_a_week_is_kept_for_sixty_days_after_it_began_and_no_longer",
                    "end_to_end/test_whole_loop.py::test_two_months_later_raw_reports_are_gone_and_numbers_stay",
                ),
            ),
            Promise(
                "No address and no time is stored with a report, and identifiers are in no log.",
                (
                    "end_to_end/test_a_day_of_traffic.py::test_nobody_is_in_any_log_and_identifiers_are_in_the_raw_store_alone",
                    "aggregation/test_raw_store.py::test_no_column_could_tell_when_a_report_came",
                    "update_server/intake/test_limiting.py::test_no_address_is_kept_and_the_key_changes_every_day",
                ),
            ),
            Promise(
                "No log holds an address, neither of the service nor of the proxy before it. Set up as it is delivered, logs "
                "are deleted after 14 days.",
                (
                    "deploy/test_machine.py::test_no_log_of_any_program_holds_an_address",
                    "deploy/test_compose.py::test_logs_go_where_they_are_deleted_after_14_days",
                    "deploy/test_systemd.py::test_its_logs_are_kept_for_14_days_and_its_data_are_its_own",
                ),
            ),
            Promise(
                "Once a week is over, not even the files of the database show in which order its reports came.",
                (
                    "aggregation/test_raw_store.py::"
                    "test_a_week_that_is_in_order_is_left_alone_and_late_reports_are_put_in_order",
                ),
            ),
            Promise(
                "What you delete is gone, also from the files of the database and from your own computer.",
                (
                    "aggregation/test_raw_store.py::test_deleted_is_in_no_file_any_more",
                    "napari_update_hook/test_own_data.py::test_forgetting_deletes_on_the_server_and_here_and_sends_nothing_more",
                    "napari_update_hook/test_own_data.py::test_what_is_forgotten_is_in_no_file_any_more",
                ),
            ),
            Promise(
                "You can delete after you withdrew your consent, too.",
                ("napari_update_hook/test_own_data.py::test_forgetting_works_after_consent_was_withdrawn",),
            ),
        ),
    ),
    Group(
        "published",
        "What is published",
        (
            Promise(
                "No number below ten, and every number a multiple of five, on every page, in every file and in the API.",
                (
                    "aggregation/test_publication.py::test_small_numbers_are_hidden_and_others_rounded_down",
                    "update_server/test_whole_output.py::test_every_public_count_of_people_is_ten_or_more_and_a_multiple_of_five",
                ),
            ),
            Promise(
                "From all public numbers together nobody can tell that fewer than nine people are in a group, unless they know "
                "more: that nobody in it has two environments, say.",
                ("aggregation/test_disclosure.py::test_every_hidden_cell_of_every_entry_can_be_nine",),
            ),
            Promise(
                "What is hidden leaves no trace: everything public is the same as if those people were not there.",
                (
                    "update_server/test_whole_output.py::"
                    "test_what_is_shown_of_the_hidden_is_what_would_be_shown_if_nobody_were_there",
                ),
            ),
            Promise(
                "No setting lowers these thresholds.",
                ("aggregation/test_publication.py::test_no_setting_reaches_the_thresholds",),
            ),
            Promise(
                "A week is published once. A number can only be taken back, with a public reason.",
                (
                    "aggregation/test_publish.py::test_a_week_is_published_once_and_stays",
                    "update_server/statistics/test_routes.py::test_a_retraction_is_seen_at_once_and_not_when_a_cache_runs_out",
                ),
            ),
        ),
    ),
    Group(
        "off",
        "How to switch it off",
        (
            Promise(
                "In napari: click on the indicator in the status bar, then *Withdraw*; or choose *none* in Preferences.",
                (
                    "inside_napari/test_panel.py::test_withdrawing_takes_one_click",
                    "inside_napari/test_preferences.py::test_a_lower_level_counts_at_once",
                    "napari_update_hook/plugin/test_wishes.py::test_nothing_is_sent_once_a_person_has_said_no_while_a_check_asks",
                    "napari_update_hook/plugin/test_wishes.py::test_a_no_that_could_not_be_written_down_holds_until_it_is_answered_again",
                ),
            ),
            Promise(
                "`napari-updates consent set none` withdraws your consent, and offers to delete what is here.",
                ("napari_update_hook/test_cli.py::test_consent_preview_send_see_forget",),
            ),
            Promise(
                "Uninstalling `napari-update-hook` ends everything.",
                ("end_to_end/test_wheels.py::test_uninstalled_nothing_is_left_that_could_run",),
            ),
            Promise(
                "`NAPARI_TELEMETRY=0` or `DO_NOT_TRACK=1` in the environment, whatever your consent says. Nothing is ever sent "
                "from continuous integration.",
                (
                    "napari_update_hook/test_ways_off.py::test_nothing_leaves_and_nothing_is_counted",
                    "napari_update_hook/test_switches.py::test_each_variable_switches_telemetry_off_and_is_named",
                ),
            ),
            Promise(
                "`NAPARI_UPDATE_CHECK=0` ends the update check, too: then nothing at all is asked.",
                ("napari_update_hook/test_client.py::test_the_check_itself_can_be_switched_off",),
            ),
            Promise(
                "An administrator can switch it off for a whole computer, or allow a level at most, with a `site.json`: "
                "`napari-updates status` names the folder.",
                ("napari_update_hook/test_ways_off.py::test_an_administrator_can_set_the_server_and_the_highest_level",),
            ),
            Promise(
                "A firewall can block a level by its host, named above; updates are checked all the same.",
                (
                    "napari_update_hook/test_telemetry.py::"
                    "test_a_blocked_level_host_leaves_the_check_alone_and_the_week_waits_until_it_closes",
                ),
            ),
        ),
    ),
    Group(
        "pages",
        "These pages",
        (
            Promise(
                "They set no cookie and ask nobody else for anything.",
                ("update_server/pages/test_pages.py::test_a_page_asks_nobody_else_for_anything",),
            ),
            Promise(
                "This page, the question in napari and the API name the same fields for the same questions.",
                ("update_server/pages/test_privacy.py::test_page_wire_client_and_api_say_the_same",),
            ),
        ),
    ),
)


def markdown() -> str:
    """Return ``docs/promises.md``."""
    lines = [
        "# Promises, and the tests that hold them",
        "",
        "Made from `update_server/pages/promises.py` by `make docs`. The privacy page shows the same table.",
    ]
    for group in PROMISES:
        lines += ["", f"## {group.title}", "", "| promise | test |", "|---|---|"]
        lines += [f"| {one.text} | {'<br>'.join(f'`{test}`' for test in one.tests)} |" for one in group.promises]
    return "\n".join(lines) + "\n"
