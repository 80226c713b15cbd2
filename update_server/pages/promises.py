"""The privacy page's promises. Tests name them: ``@pytest.mark.promise("counts-are-rounded")``.

``docs/promises.md`` is generated; a full run fails if no test of a promise passed.
"""

PROMISES: dict[tuple[str, str], dict[str, str]] = {
    ("consent", "Nothing without a yes"): {
        "nothing-without-consent": "Without your consent only the update check leaves your computer, and it is the same for "
        "everyone.",
        "no-telemetry-without-install": "The update check has no telemetry code. Telemetry is a separate package, which is "
        "installed only if you want it, and not loaded by a check without your consent.",
        "nothing-below-the-level": "Nothing beyond the level that you chose is collected, not even on your own computer.",
        "nothing-from-before": "Nothing from before your consent is ever sent.",
        "consent-has-limits": "Your consent is for one service, for the time that you said, and for the fields that you saw. A "
        "program that collects more asks you again, and sends nothing until you have answered.",
        "asked-three-times": "You are asked at most three times, and no is an answer.",
        "nothing-runs-unasked": "Nothing of it runs in napari unless you start it there.",
    },
    ("sent", "What is sent"): {
        "preview-is-what-is-sent": "The preview is exactly what is sent, and a copy of what was sent stays on your "
        "disk for you to check.",
        "every-text-is-public": "Every text in a report is on a public list; your computer leaves out the rest, and so does the"
        " server. Only plugins of napari that the public index lists can be named, whatever a server's list says.",
        "counts-are-rounded": "Counts are rounded down on your computer.",
        "fields-above-refused": "A field above the level is refused, and nothing of the request is stored.",
        "identifier-changes": "The identifier changes every week, differs for each service, and is made from a secret that "
        "never leaves your computer.",
        "one-week-a-request": "One request covers one week.",
        "no-tracking": "No cookie is accepted, and no answer is used to mark your computer.",
    },
    ("kept", "What is kept"): {
        "deleted-after-60-days": "A report is deleted 60 days after its week began, whatever else fails.",
        "no-address-no-time": "No address and no time is stored with a report, and identifiers are in no log.",
        "no-address-in-logs": "No log holds an address, neither of the service nor of the proxy before it. Set up as it is "
        "delivered, logs are deleted after 14 days.",
        "no-order-of-arrival": "Once a week is over, not even the files of the database show in which order its reports came.",
        "deleted-is-gone": "What you delete is gone, also from the files of the database and from your own computer.",
        "delete-after-withdrawal": "You can delete after you withdrew your consent, too.",
    },
    ("published", "What is published"): {
        "ten-people-multiples-of-five": "No number below ten, and every number a multiple of five, on every page, in every file"
        " and in the API.",
        "small-groups-stay-hidden": "From all public numbers together no one can tell that fewer than nine people are in a "
        "row; and from a table and its total not even if they know that each person is in one row.",
        "hidden-leaves-no-trace": "What is hidden leaves no trace: everything public is the same as if those people were not "
        "there.",
        "no-setting-lowers-it": "No setting lowers these thresholds.",
        "published-once": "A week is published once. A number can only be taken back, with a public reason.",
    },
    ("off", "How to switch it off"): {
        "off-in-napari": "In napari: click on the indicator in the status bar, then *Off*; or choose *none* as the maximum "
        "level in Preferences. A report that is on its way at that moment is deleted.",
        "off-in-a-terminal": "`napari-telemetry off` ends your consent, and offers to delete what is here.",
        "off-by-uninstalling": "Uninstalling `napari-telemetry` ends it, and your consent; uninstalling `napari-update-hook` "
        "ends the update check, too.",
        "off-by-variable": "`NAPARI_TELEMETRY=0` or `DO_NOT_TRACK=1` in the environment, whatever your consent says. Nothing is"
        " ever sent from continuous integration, or under pytest.",
        "check-off": "`NAPARI_UPDATE_CHECK=0` ends the update check, too: then nothing at all is asked.",
        "off-by-administrator": "An administrator can switch it off for a whole computer, or allow a level at most, with a "
        "`site.json`: `napari-telemetry status` names the folder.",
        "off-by-firewall": "A firewall can block a level by its host, named above; updates are checked all the same.",
    },
    ("pages", "These pages"): {
        "pages-load-nothing-else": "They set no cookie and load nothing from elsewhere.",
        "same-fields-everywhere": "This page, the question in napari and the API name the same fields for the same questions.",
    },
}  # fmt: skip
"""Texts by id, by (key, title) of their group. Backticks mark code."""
