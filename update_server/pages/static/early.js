// Before the first paint: pages with charts show these in place of the tables that they are drawn from.
document.documentElement.classList.add("js");
