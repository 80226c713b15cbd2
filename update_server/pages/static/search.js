// Filters a table while somebody types, and keeps what they typed in the address, so that it can be shared.
"use strict";
for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  const told = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
  if (!table) continue;
  const rows = Array.from(table.tBodies[0].rows, (row) => [row, row.cells[0].textContent.toLowerCase()]);
  const began = input.value.trim().toLowerCase();
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    told.textContent = words.length ? `${shown} shown` : "";
    const url = new URL(location.href);
    if (words.length) url.searchParams.set("q", input.value.trim());
    else url.searchParams.delete("q");
    history.replaceState(null, "", url);
  };
  // What the server left out can't come back by typing less: then it is asked again, by Enter or the button.
  if (!began) input.addEventListener("input", filter);
}
