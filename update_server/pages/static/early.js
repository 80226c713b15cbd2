// Runs before the first paint, to show charts instead of their tables.
document.documentElement.classList.add("js");
