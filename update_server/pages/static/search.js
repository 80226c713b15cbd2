// Updates the results while the user types, and the URL, so that it can be shared.
"use strict";
for (const form of document.querySelectorAll("form[data-results]")) {
  let waiting = null;
  let asked = 0;
  const show = async () => {
    const url = new URL(form.action || location.href);
    url.search = new URLSearchParams(new FormData(form));
    const number = (asked += 1);
    const answer = await fetch(url);
    if (number !== asked || !answer.ok) return; // a newer request was sent
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of form.dataset.results.split(" ")) document.getElementById(id).replaceWith(page.getElementById(id));
    history.replaceState(null, "", url);
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 150);
  });
}
