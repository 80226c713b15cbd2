// Draws each chart from its table, so that they can't differ. The URL stores hidden series, so that a view can be shared.
"use strict";

const REDRAWS = [];
const HIDDEN_PARAMETER = "hide";

function colours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    ink: value("--ink"),
    quiet: value("--quiet"),
    line: value("--line"),
    raised: value("--raised"),
    series: Array.from({ length: 8 }, (_, number) => value(`--series-${number + 1}`)),
  };
}

// Return null for "<10" and "retracted", which must not be drawn as zero.
function numberOf(text) {
  const plain = text.trim().replaceAll(",", "");
  return /^\d+$/.test(plain) ? Number(plain) : null;
}

function readTable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const counts = heads.filter((cell) => cell.classList.contains("count"));
  const columns = counts.map((cell) => cell.textContent.trim());
  const colours = counts.map((cell, number) => Number(cell.dataset.colour || (number % 8) + 1) - 1);
  const totals = (table.dataset.totals || "").split(",").map(numberOf);
  const rows = Array.from(table.tBodies[0].rows, (row) => {
    const cells = Array.from(row.cells);
    const names = cells.slice(0, cells.length - columns.length).map((cell) => cell.textContent.trim());
    const texts = cells.slice(cells.length - columns.length).map((cell) => cell.textContent.trim());
    return { name: names.join(" · "), texts };
  });
  return { columns, colours, rows, totals, unit: table.dataset.unit || "" };
}

function hiddenIn(id) {
  const entries = new URL(location.href).searchParams.getAll(HIDDEN_PARAMETER);
  return new Set(entries.filter((entry) => entry.startsWith(`${id}:`)).map((entry) => entry.slice(id.length + 1)));
}

function saveHidden(id, hidden) {
  const url = new URL(location.href);
  const others = url.searchParams.getAll(HIDDEN_PARAMETER).filter((entry) => !entry.startsWith(`${id}:`));
  url.searchParams.delete(HIDDEN_PARAMETER);
  for (const entry of [...others, ...Array.from(hidden, (name) => `${id}:${name}`)]) url.searchParams.append(HIDDEN_PARAMETER, entry);
  history.replaceState(null, "", url);
}

function commonOptions(palette) {
  const text = { color: palette.quiet, fontSize: 12 };
  return {
    animation: false,
    color: palette.series,
    textStyle: { color: palette.ink, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 16, top: 16, bottom: 8, containLabel: true },
    tooltip: {
      renderMode: "richText", // HTML tooltips need inline styles, which the Content-Security-Policy forbids
      backgroundColor: palette.raised,
      borderColor: palette.line,
      textStyle: { color: palette.ink, fontSize: 13 },
      confine: true,
    },
    axis: {
      axisLabel: text,
      axisLine: { lineStyle: { color: palette.line } },
      axisTick: { show: false },
      splitLine: { lineStyle: { color: palette.line } },
    },
  };
}

// Convert to percentages of all participants, or of all who have the plugin.
function inPercent(data) {
  const share = (text, total) => {
    if (numberOf(text) === null) return text;
    return total ? String(Math.min(100, Math.round((100 * numberOf(text)) / total))) : "–";
  };
  const rows = data.rows.map((row, place) => ({ ...row, texts: row.texts.map((text) => share(text, data.totals[place])) }));
  return { ...data, rows, unit: "%" };
}

// Turn the table of a single week around, to draw bars instead of lines.
function asBarsOfOneWeek(data) {
  const [row] = data.rows;
  return { ...data, columns: ["People"], colours: [0], rows: data.columns.map((name, number) => ({ name, texts: [row.texts[number]] })) };
}

function lines(data, palette, hidden, width) {
  const base = commonOptions(palette);
  const isSparse = data.rows.length < 3;
  const series = data.columns.map((name, number) => ({
    name,
    type: "line",
    data: data.rows.map((row) => (hidden.has(name) ? null : numberOf(row.texts[number]))),
    symbol: "circle",
    symbolSize: 6,
    showSymbol: isSparse,
    lineStyle: { width: data.colours[number] === 0 ? 3 : 2, type: data.colours[number] < 4 ? "solid" : "dashed" },
    color: palette.series[data.colours[number]],
    connectNulls: false,
    endLabel: {
      show: data.columns.length > 1,
      formatter: "{a}",
      color: palette.series[data.colours[number]],
      width: width / 3,
      overflow: "truncate",
    },
  }));
  const longest = data.columns.length > 1 ? Math.max(...data.columns.map((name) => name.length)) : 0;
  return {
    ...base,
    grid: { ...base.grid, right: 16 + Math.min(7 * longest, width / 3) },
    xAxis: { type: "category", data: data.rows.map((row) => row.name), boundaryGap: isSparse, ...base.axis, splitLine: { show: false } },
    yAxis: { type: "value", min: 0, ...base.axis, axisLabel: { ...base.axis.axisLabel, formatter: `{value}${data.unit}` } },
    tooltip: {
      ...base.tooltip,
      trigger: "axis",
      formatter: (points) => {
        const row = data.rows[points[0].dataIndex];
        const shown = data.columns.map((name, number) => [name, row.texts[number]]).filter(([name]) => !hidden.has(name));
        return [row.name, ...shown.map(([name, text]) => `${name}: ${text}${numberOf(text) === null ? "" : data.unit}`)].join("\n");
      },
    },
    series,
  };
}

// Return offsets that separate overlapping labels at the ends of lines: this build of echarts has no labelLayout.
function labelOffsets(chart, series) {
  const last = (values) => values.findLast((value) => value !== null) ?? null;
  const ends = series.map((one, number) => ({ number, value: last(one.data) })).filter((one) => one.value !== null);
  const offsets = series.map(() => 0);
  let highest = chart.convertToPixel({ yAxisIndex: 0 }, 0) + 14;
  for (const one of ends.sort((first, second) => first.value - second.value)) {
    const wanted = chart.convertToPixel({ yAxisIndex: 0 }, one.value);
    one.wanted = wanted;
    highest = one.place = Math.min(wanted, highest - 14);
  }
  let lowest = -6; // push down labels above the chart
  for (const one of ends.reverse()) {
    lowest = Math.max(one.place, lowest + 14);
    offsets[one.number] = lowest - one.wanted;
  }
  return offsets.map((offset) => ({ endLabel: { offset: [0, offset] } }));
}

function bars(data, palette, hidden, drawn, isStacked) {
  const base = commonOptions(palette);
  const rows = (isStacked ? data.rows : data.rows.slice(0, drawn)).slice().reverse();
  const width = window.innerWidth < 600 ? 130 : 260;
  return {
    ...base,
    xAxis: { type: "value", min: 0, ...base.axis },
    yAxis: {
      type: "category",
      data: rows.map((row) => row.name),
      ...base.axis,
      axisLabel: { color: palette.ink, fontSize: 12, width, overflow: "truncate" },
      splitLine: { show: false },
    },
    tooltip: {
      ...base.tooltip,
      trigger: "axis",
      axisPointer: { type: "shadow" },
      formatter: (points) => {
        const row = rows[points[0].dataIndex];
        return [row.name, ...data.columns.map((name, number) => `${name}: ${row.texts[number]}`)].join("\n");
      },
    },
    series: data.columns.map((name, number) => ({
      name,
      type: "bar",
      stack: isStacked ? "all" : undefined,
      barMaxWidth: 22,
      color: palette.series[data.colours[number]],
      data: rows.map((row) => (hidden.has(name) ? null : numberOf(row.texts[number]))),
    })),
  };
}

function makeLegend(plot, id, data, hidden, redraw) {
  if (data.columns.length < 2 && data.columns[0] === "People") return;
  const legend = document.createElement("div");
  legend.className = "legend";
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", "Series shown");
  data.columns.forEach((name, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `series series-${data.colours[number] + 1}`;
    button.textContent = name;
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
    button.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      saveHidden(id, hidden);
      redraw();
    });
    legend.append(button);
  });
  plot.after(legend);
}

function makePercentButton(plot, change) {
  const button = document.createElement("button");
  const label = plot.getAttribute("aria-label");
  button.type = "button";
  button.className = "switch";
  button.textContent = "In percent";
  button.setAttribute("aria-label", `In percent. ${label}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    plot.setAttribute("aria-label", isOn ? "Chart in percent. The table below has the numbers of people." : label);
    change(isOn);
  });
  plot.before(button);
}

function makeTableButton(plot, region) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "switch";
  const updateLabel = () => {
    const isShown = region.classList.contains("shown");
    button.textContent = isShown ? "Hide the table" : "Show the table";
    button.setAttribute("aria-expanded", String(isShown));
  };
  if (!region.id) region.id = `${plot.dataset.table}-region`;
  button.setAttribute("aria-controls", region.id);
  button.addEventListener("click", () => {
    region.classList.toggle("shown");
    updateLabel();
  });
  updateLabel();
  region.before(button);
}

function draw(plot) {
  const table = document.getElementById(plot.dataset.table);
  const read = readTable(table);
  const isOneWeek = plot.dataset.kind === "lines" && read.rows.length === 1;
  const data = isOneWeek ? asBarsOfOneWeek(read) : read;
  const id = plot.dataset.table.replace(/-table$/, "");
  const hidden = hiddenIn(id);
  const kind = isOneWeek ? "bars" : plot.dataset.kind;
  const drawn = isOneWeek ? data.rows.length : Number(plot.dataset.drawn || data.rows.length);
  if (kind !== "lines") {
    const rows = kind === "stack" ? data.rows.length : Math.min(drawn, data.rows.length);
    plot.style.height = `${60 + rows * 26}px`;
  }
  const chart = echarts.init(plot, null, { renderer: "canvas" });
  let isShare = false;
  const redraw = () => {
    const palette = colours();
    const option = kind === "lines" ? lines(isShare ? inPercent(data) : data, palette, hidden, plot.clientWidth) : bars(data, palette, hidden, drawn, kind === "stack");
    chart.setOption(option, true);
    if (kind === "lines") chart.setOption({ series: labelOffsets(chart, option.series) });
  };
  redraw();
  REDRAWS.push(() => {
    chart.resize();
    redraw();
  });
  makeLegend(plot, id, data, hidden, redraw);
  if (kind === "lines" && data.totals.some((total) => total)) {
    makePercentButton(plot, (isOn) => {
      isShare = isOn;
      redraw();
    });
  }
  const region = table.closest(".numbers");
  if (region) makeTableButton(plot, region);
  plot.classList.add("drawn");
}

function begin() {
  const plots = Array.from(document.querySelectorAll(".plot"));
  if (typeof echarts === "undefined") {
    document.documentElement.classList.remove("js"); // the library failed to load: show the tables
    return;
  }
  // Draw a chart only when it is about to scroll into view, so that the first ones appear at once.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "600px" },
  );
  for (const plot of plots) watcher.observe(plot);
  const all = () => REDRAWS.forEach((redraw) => redraw());
  let waiting = null;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(all, 150);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  window.addEventListener("beforeprint", () => document.documentElement.classList.remove("js"));
  window.addEventListener("afterprint", () => document.documentElement.classList.add("js"));
  // Keep hidden series hidden when the form for weeks is submitted.
  for (const form of document.querySelectorAll("form.weeks")) {
    form.addEventListener("formdata", (event) => {
      for (const entry of new URL(location.href).searchParams.getAll(HIDDEN_PARAMETER)) event.formData.append(HIDDEN_PARAMETER, entry);
    });
  }
}

begin();
