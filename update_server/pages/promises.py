"""The promises on the privacy page. Tests refer to them: ``@pytest.mark.promise("counts-are-rounded")``.

``docs/promises.md`` is generated from them. A full test run fails if a promise has no passing test.
"""

PROMISES: dict[tuple[str, str], dict[str, str]] = {
    ("consent", "Nothing without consent"): {
        "nothing-without-consent": "Without your consent, your computer sends only the update check, which is the same for "
        "everyone.",
        "no-telemetry-without-install": "The update check contains no telemetry code. Telemetry is a separate package, "
        "installed only if you want it. Without your consent, a check does not load it.",
        "nothing-below-the-level": "Nothing beyond the level that you chose is collected, not even on your own computer.",
        "nothing-from-before": "Nothing from before your consent is ever sent.",
        "consent-has-limits": "Your consent covers one service, the period that you chose, and the fields that you saw. A "
        "version that collects more asks you again, and sends nothing until you have answered.",
        "asked-three-times": "You are asked at most three times, and not again after a refusal.",
        "nothing-runs-unasked": "None of this code runs in napari unless you start it there.",
    },
    ("sent", "What is sent"): {
        "preview-is-what-is-sent": "The preview shows exactly what is sent. A copy of each sent report stays on your "
        "disk for you to check.",
        "every-text-is-public": "Every text in a report is on a public list; your computer omits any other, and so does "
        "the server. Only napari plugins in the public index can be named, even if a server lists others.",
        "counts-are-rounded": "Counts are rounded down on your computer.",
        "fields-above-refused": "A request with a field above its level is rejected, and none of it is stored.",
        "identifier-changes": "The identifier changes every week, differs for each service, and is derived from a secret "
        "that never leaves your computer.",
        "one-week-a-request": "Each request covers one week.",
        "no-tracking": "No cookies are accepted, and no response is used to mark your computer.",
    },
    ("kept", "What is kept"): {
        "deleted-after-60-days": "A report is deleted 60 days after its week began, whatever else fails.",
        "no-address-no-time": "Reports are stored without addresses and times, and identifiers are never logged.",
        "no-address-in-logs": "Logs of the service and of the proxy in front of it contain no addresses. In the delivered "
        "configuration, logs are deleted after 14 days.",
        "no-order-of-arrival": "Once a week is over, not even the database files show the arrival order of its reports.",
        "deleted-is-gone": "Deleted reports are gone, also from the database files and from your own computer.",
        "delete-after-withdrawal": "You can still delete your reports after withdrawing your consent.",
    },
    ("published", "What is published"): {
        "ten-people-multiples-of-five": "On every page, in every file and in the API, numbers of people are at least ten "
        "and multiples of five.",
        "small-groups-stay-hidden": "Even from all public numbers, no one can tell that fewer than nine people are in a "
        "row; from a table and its total, not even someone who knows that each person is in one row.",
        "hidden-leaves-no-trace": "Hidden people leave no trace: everything public is the same as if they were not there.",
        "no-setting-lowers-it": "No setting lowers these thresholds.",
        "published-once": "A week is published once. A number can only be retracted, with a public reason.",
    },
    ("off", "How to switch it off"): {
        "off-in-napari": "In napari, click the indicator in the status bar, then *Off*; or choose *none* as the maximum "
        "level in Preferences. A report being sent at that moment is deleted.",
        "off-in-a-terminal": "`napari-telemetry off` ends your consent, and offers to delete the local data.",
        "off-by-uninstalling": "Uninstalling `napari-telemetry` ends telemetry and your consent; uninstalling "
        "`napari-update-hook` ends the update check, too.",
        "off-by-variable": "`NAPARI_TELEMETRY=0` or `DO_NOT_TRACK=1` in the environment overrides your consent. Nothing is "
        "ever sent from continuous integration or under pytest.",
        "check-off": "`NAPARI_UPDATE_CHECK=0` also turns off the update check: then no request is made at all.",
        "off-by-administrator": "An administrator can turn telemetry off for a whole computer, or limit its level, with a "
        "`site.json`; `napari-telemetry status` shows its folder.",
        "off-by-firewall": "A firewall can block a level by its host, named above; the update check still works.",
    },
    ("pages", "These pages"): {
        "pages-load-nothing-else": "They set no cookie and load nothing from elsewhere.",
        "same-fields-everywhere": "This page, the consent dialog and the API list the same fields for the same questions.",
    },
}  # fmt: skip
"""Texts of promises by id, grouped by (key, title). Backticks mark code."""
