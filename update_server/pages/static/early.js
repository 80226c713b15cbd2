// Before the first paint: show charts instead of their tables.
document.documentElement.classList.add("js");
