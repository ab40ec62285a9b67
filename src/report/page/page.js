// The page's interaction: theme, sorting, filtering, copying, and the charts. All words are in the page already; this reads
// numbers from it, and writes text only by textContent.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const root = document.documentElement;
  const darkSystem = matchMedia("(prefers-color-scheme: dark)");
  const redraws = [];
  const redraw = () => redraws.forEach((draw) => draw());

  // Theme: the system's until the reader chooses; a page from a file may not be allowed to remember.
  const themeButton = one("#theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkSystem.matches);
  const showTheme = () => {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    redraw();
  };
  try {
    const kept = localStorage.getItem("tidemark-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* not allowed: the system's theme it is */ }
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("tidemark-theme", root.dataset.theme); } catch { /* not remembered */ }
    showTheme();
  });
  darkSystem.addEventListener("change", showTheme);

  all("[hidden]:not(.narrow-only)").forEach((element) => { element.hidden = false; });
  all(".show-endpoint").forEach((button) => button.append(button.nextElementSibling));

  // Sorting: a missing value is last in both directions.
  const keyOf = (row, column, isNumber) => {
    const cell = row.cells[column];
    const value = cell.dataset.v ?? cell.textContent.trim();
    if (!isNumber) return value.toLowerCase();
    return value === "" ? NaN : Number(value);
  };
  const sortBy = (table, column, direction) => {
    const head = table.tHead.rows[0].cells[column];
    const isNumber = head.dataset.sort === "number";
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column, isNumber), row]);
    rows.sort(([left], [right]) => {
      if (!isNumber) return sign * left.localeCompare(right, "en", { numeric: true });
      if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
      return sign * (left - right);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    for (const cell of table.tHead.rows[0].cells) {
      if (cell.dataset.sort) cell.setAttribute("aria-sort", cell === head ? direction : "none");
    }
  };
  for (const table of all("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (!cell.dataset.sort) return;
      const button = make("button", { type: "button", className: "sorter", textContent: cell.textContent });
      cell.replaceChildren(button);
      cell.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const first = cell.dataset.sort === "number" ? "descending" : "ascending";
        const other = first === "descending" ? "ascending" : "descending";
        sortBy(table, column, cell.getAttribute("aria-sort") === first ? other : first);
      });
    });
  }
  const endpointTable = one("#endpoint-table");
  if (endpointTable) {
    const sort = one("#sort");
    sort.append(new Option("the report's order", ""));
    const order = [...endpointTable.tBodies[0].rows];
    [...endpointTable.tHead.rows[0].cells].forEach((cell, column) => {
      if (cell.dataset.sort) sort.append(new Option(cell.textContent, String(column)));
    });
    sort.addEventListener("change", () => {
      if (sort.value === "") return endpointTable.tBodies[0].append(...order);
      const column = Number(sort.value);
      const isNumber = endpointTable.tHead.rows[0].cells[column].dataset.sort === "number";
      sortBy(endpointTable, column, isNumber ? "descending" : "ascending");
    });
    const filter = one("#filter");
    const filtered = one("#filtered");
    const texts = order.map((row) => [row, `${row.cells[0].textContent} ${row.cells[row.cells.length - 1].textContent}`.toLowerCase()]);
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const [row, text] of texts) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      filtered.textContent = words.length ? `${shown} of ${texts.length} shown` : "";
    });
  }

  for (const button of all(".copy")) {
    button.addEventListener("click", async () => {
      const code = one(`#${button.dataset.copy}`);
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        // Older browsers, and pages from a file: the selection can always be copied.
        const range = document.createRange();
        range.selectNodeContents(code);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // What can be opened is open on paper, also where the style sheet cannot open it.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open]):not(.as-table)");
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));

  const figures = one("#figures");
  if (!figures || typeof uPlot === "undefined") return showTheme();
  const run = JSON.parse(figures.textContent);
  const { start, step } = run;
  const steps = run.total.rate.length;
  const middles = Array.from({ length: steps }, (_, index) => start + (index + 0.5) * step);
  const whole = { min: start, max: start + Math.max(1, steps) * step };

  // Colours by name of the style sheet's variable, as the browser resolves them.
  const probe = make("i", { hidden: true });
  document.body.append(probe);
  const colour = (name, opacity = 1) => {
    probe.style.color = opacity === 1 ? `var(--${name})` : `color-mix(in srgb, var(--${name}) ${opacity * 100}%, transparent)`;
    return getComputedStyle(probe).color;
  };

  const grouped = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const short = (value) => {
    const size = Math.abs(value);
    return grouped(value, size >= 1000 || Number.isInteger(value) ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4);
  };
  const percent = (value) => `${grouped(value * 100, value === 0 || value === 1 ? 0 : 2)} %`;
  const plain = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const clock = (time) => new Date(time * 1000).toISOString().slice(11, 19);
  const isShort = steps * step < 600;

  // The baseline has its own steps: its value is that of the same second from its start.
  const ofBase = (values) => values && middles.map((time) => values[Math.floor((time - start) / run.base.step)] ?? null);
  const line = (label, key, colourName, options = {}) => ({ label, key, colourName, width: 1.5, dash: [], ...options });
  const charts = {
    latency: {
      main: "p95", what: "p95",
      words: (value) => `${short(value)} ms`, axis: plain,
      lines: [line("p95, baseline", "base", "base", { dash: [4, 3], width: 1.25 }), line("med", "med", "blue"),
        line("p95", "p95", "orange", { width: 2 }), line("p99", "p99", "purple", { dash: [6, 3] })],
      from: (series, base) => ({ ...series, base: base && base.total.p95 }),
    },
    rate: {
      main: "rate", what: "The rate",
      words: (value) => `${short(value)}/s`, axis: plain,
      lines: [line("baseline", "base", "base", { dash: [4, 3], width: 1.25 }), line("requests", "rate", "blue", { width: 2 })],
      from: (series, base) => ({ ...series, base: base && base.total.rate }),
    },
    failed: {
      main: "failed", what: "The failed share",
      words: percent, axis: (value) => `${plain(value * 100)} %`, least: 0.01,
      lines: [line("baseline", "base", "base", { dash: [4, 3], width: 1.25 }), line("failed", "failed", "orange", { width: 2, fill: 0.14 })],
      from: (series, base) => ({ ...series, base: base && base.total.failed }),
    },
    load: {
      words: short, axis: plain,
      lines: [line("VUs, baseline", "base", "base", { dash: [4, 3], width: 1.25 }), line("VUs", "vus", "blue", { width: 2 }),
        line("iterations/s", "iterations", "purple"), line("dropped/s", "dropped", "orange", { width: 2, dash: [2, 2] })],
      from: (_, base) => ({ vus: run.vus, iterations: run.iterations, dropped: run.dropped, base: base && base.vus }),
    },
  };

  const plots = [];
  let chosen = null;
  let range = { ...whole };

  // One range for all charts.
  let isSetting = false;
  const setRange = (min, max) => {
    const least = Math.min(4 * step, whole.max - whole.min);
    const length = Math.min(Math.max(max - min, least), whole.max - whole.min);
    const from = Math.min(Math.max((min + max - length) / 2, whole.min), whole.max - length);
    range = { min: from, max: from + length };
    isSetting = true;
    plots.forEach(({ plot }) => plot.setScale("x", range));
    isSetting = false;
    one("#zoom-reset").disabled = range.min <= whole.min && range.max >= whole.max;
  };
  const zoom = (factor) => {
    const { idx } = plots[0].plot.cursor;
    const centre = idx == null ? (range.min + range.max) / 2 : middles[idx];
    const length = (range.max - range.min) * factor;
    const share = (centre - range.min) / (range.max - range.min);
    setRange(centre - length * share, centre + length * (1 - share));
  };

  const hatch = (context, colourName) => {
    const tile = make("canvas", { width: 8, height: 8 });
    const pen = tile.getContext("2d");
    pen.strokeStyle = colour(colourName);
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const shift of [-8, 0, 8]) { pen.moveTo(shift, 8); pen.lineTo(shift + 8, 0); }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  };
  const severityColour = { critical: "bad", major: "warn", minor: "muted" };
  // Phases and findings, clipped to the plot: areas below the lines, edges and numbers above them.
  const findingsIn = (plot, at) => {
    const { bbox: box } = plot;
    const spans = run.findings.map(([number, begin, end, severity]) => {
      const left = at(begin ?? 0);
      return { number, left, right: Math.max(at(end ?? steps * step), left + 2 * devicePixelRatio), name: severityColour[severity] };
    });
    return spans.filter(({ left, right }) => left < box.left + box.width && right > box.left + 2 * devicePixelRatio);
  };
  const shade = (plot, { areas, edges }) => {
    const { ctx: context, bbox: box } = plot;
    const ratio = devicePixelRatio;
    const at = (seconds) => Math.min(Math.max(plot.valToPos(start + seconds, "x", true), box.left), box.left + box.width);
    const fill = (from, until, style, top = box.top, height = box.height) => {
      if (until <= from) return;
      context.fillStyle = style;
      context.fillRect(from, top, until - from, height);
    };
    context.save();
    if (areas) {
      const [from, until] = run.steady;
      const pattern = hatch(context, "base");
      if (from !== null) fill(box.left, at(from), pattern);
      if (until !== null) fill(at(until), box.left + box.width, pattern);
      // What lasts most of the run would tint the whole chart.
      if (areas === "all") findingsIn(plot, at).forEach(({ left, right, name }) => fill(left, right, colour(name, right - left > box.width / 2 ? 0.04 : 0.1)));
    }
    const labels = [];
    for (const { number, left, right, name } of edges ? findingsIn(plot, at) : []) {
      fill(left, right, colour(name), box.top, 2 * ratio);
      const same = labels.find((label) => Math.abs(label.left - left) < 14 * ratio);
      if (same) same.text += `, ${number}`; else labels.push({ left, text: `${number}`, name });
    }
    context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "top";
    for (const { left, text, name } of labels) {
      const width = context.measureText(text).width;
      const x = Math.min(left + 3 * ratio, box.left + box.width - width - 3 * ratio);
      context.fillStyle = colour("surface", 0.8);
      context.fillRect(x - 2 * ratio, box.top + 3 * ratio, width + 4 * ratio, 14 * ratio);
      context.fillStyle = colour(name);
      context.fillText(text, x, box.top + 5 * ratio);
    }
    context.restore();
  };

  const axisLook = { stroke: () => colour("muted"), font: "12px system-ui, sans-serif" };
  const grid = { stroke: () => colour("line"), width: 1 };
  const timeAxis = {
    ...axisLook, grid, ticks: { show: false }, size: 26, space: 76, gap: 4,
    values: (_, times) => times.map((time) => clock(time).slice(0, isShort || range.max - range.min < 600 ? 8 : 5)),
  };
  const common = (figure, height) => ({
    width: Math.max(200, one(".plot", figure).clientWidth), height, padding: [6, 28, 0, 0],
    tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
    legend: { show: false },
    cursor: { sync: { key: "run", setSeries: false }, drag: { x: true, y: false, dist: 4 }, y: false,
      bind: { dblclick: () => () => { setRange(whole.min, whole.max); return null; } } },
  });
  const hooks = (then) => ({
    setScale: [(plot, key) => {
      if (key !== "x" || isSetting || plot.isNew) return;
      const { min, max } = plot.scales.x;
      if (min !== range.min || max !== range.max) queueMicrotask(() => setRange(min, max));
    }],
    setCursor: [then],
  });
  const timeScale = { time: true, range: (_, min, max) => (max > min ? [min, max] : [whole.min, whole.max]) };
  const showTime = (idx) => {
    one("#at").textContent = idx == null ? "" : `${clock(start + idx * step)} UTC, ${grouped(idx * step, 0)} s from the start`;
  };

  // The plot is one stop of the keyboard: a slider through time, whose text is what stands under the cursor.
  const keyboard = (figure, entry, words) => {
    const element = one(".plot", figure);
    Object.assign(element, { tabIndex: 0, role: "slider" });
    element.setAttribute("aria-labelledby", one("h3", figure).id);
    element.setAttribute("aria-describedby", "charts-help");
    element.setAttribute("aria-valuemin", "0");
    element.setAttribute("aria-valuemax", String(steps - 1));
    const tell = (index) => {
      element.setAttribute("aria-valuenow", String(index));
      element.setAttribute("aria-valuetext", words(index));
    };
    tell(0);
    const moveTo = (index) => {
      const inside = Math.min(Math.max(index, 0), steps - 1);
      const time = middles[inside];
      const length = range.max - range.min;
      if (time < range.min || time > range.max) setRange(time - length / 2, time + length / 2);
      entry.plot.setCursor({ left: entry.plot.valToPos(time, "x"), top: entry.plot.over.clientHeight / 2 }, true, true);
      tell(inside);
    };
    element.addEventListener("keydown", (event) => {
      const now = entry.plot.cursor.idx ?? Math.max(0, middles.findIndex((time) => time >= range.min));
      const page = Math.max(1, Math.round((range.max - range.min) / step / 10));
      const acts = {
        ArrowLeft: () => moveTo(now - 1), ArrowRight: () => moveTo(now + 1), ArrowDown: () => moveTo(now - 1), ArrowUp: () => moveTo(now + 1),
        PageUp: () => moveTo(now + page), PageDown: () => moveTo(now - page), Home: () => moveTo(0), End: () => moveTo(steps - 1),
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => setRange(whole.min, whole.max), Escape: () => setRange(whole.min, whole.max),
      };
      if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      acts[event.key]();
    });
    // A finger moves the cursor; up and down still scroll the page.
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") return;
      const box = entry.plot.over.getBoundingClientRect();
      entry.plot.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top }, true, true);
    });
  };

  const seriesOf = (endpoint) => (endpoint === null ? run.total : run.endpoints[endpoint]);
  const columns = (spec) => {
    const base = chosen === null || spec === charts.load ? run.base : undefined;
    const values = spec.from(seriesOf(chosen), base);
    return [middles, ...spec.lines.map(({ key }) => (key === "base" ? ofBase(values.base) : values[key]) ?? middles.map(() => null))];
  };
  // The same words as the page has for all requests.
  const extremes = (spec, values) => {
    const known = values.filter((value) => value !== null);
    if (!known.length) return `${spec.what} is not known.`;
    const [least, most] = [Math.min(...known), Math.max(...known)];
    if (least === most) return `${spec.what} is ${spec.words(most)} throughout.`;
    return `${spec.what} is between ${spec.words(least)} and ${spec.words(most)}; greatest at ${clock(start + values.indexOf(most) * step)}.`;
  };
  const lineChart = (figure, spec) => {
    const hasValues = (index) => columns(spec)[index + 1].some((value) => value !== null);
    spec.lines = spec.lines.filter((_, index) => hasValues(index));
    const outputs = [];
    const legend = one(".legend", figure);
    const entry = { figure };
    const showValues = (plot) => {
      const { idx } = plot.cursor;
      spec.lines.forEach((_, index) => {
        const value = idx == null ? null : plot.data[index + 1][idx];
        // Where no mouse is, the greatest value: it says more than an empty place.
        const most = () => plot.data[index + 1].reduce((most, other) => (other != null && other > most ? other : most), -Infinity);
        const words = (known) => (Number.isFinite(known) ? `max ${spec.words(known)}` : "");
        outputs[index].textContent = idx == null ? words(most()) : value == null ? "-" : spec.words(value);
        outputs[index].className = idx == null ? "muted" : "";
      });
      showTime(idx);
    };
    const options = {
      ...common(figure, 190),
      scales: { x: timeScale, y: { range: (_, __, max) => [0, Math.max(max ?? 0, spec.least ?? 0) * 1.12 || 1] } },
      axes: [timeAxis, { ...axisLook, grid, ticks: { show: false }, size: 58, gap: 6, space: 34, values: (_, values) => values.map(spec.axis) }],
      series: [{}, ...spec.lines.map((one) => ({
        label: one.label, stroke: () => colour(one.colourName), width: one.width, dash: one.dash,
        fill: one.fill ? () => colour(one.colourName, one.fill) : undefined,
        points: { show: false, filter: lonely, size: 5, fill: () => colour(one.colourName) },
      }))],
      hooks: { ...hooks(showValues), drawClear: [(plot) => shade(plot, { areas: "all" })], draw: [(plot) => shade(plot, { edges: true })] },
    };
    entry.plot = new uPlot(options, columns(spec), one(".plot", figure));
    entry.showValues = () => showValues(entry.plot);
    const words = one(".words", figure);
    const wordsOfAll = words.textContent;
    entry.update = () => {
      const data = columns(spec);
      entry.plot.setData(data, false);
      entry.showValues();
      all("button", legend).forEach((button, index) => { button.hidden = data[index + 1].every((value) => value === null); });
      words.textContent = chosen === null || !spec.main ? wordsOfAll : extremes(spec, seriesOf(chosen)[spec.main]);
    };
    for (const [index, { label, colourName, dash, width }] of spec.lines.entries()) {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      svg.setAttribute("viewBox", "0 0 22 8");
      svg.setAttribute("aria-hidden", "true");
      path.setAttribute("d", "M0 4H22");
      path.setAttribute("stroke-width", String(width + 0.5));
      path.setAttribute("stroke-dasharray", dash.join(" "));
      svg.append(path);
      redraws.push(() => path.setAttribute("stroke", colour(colourName)));
      outputs.push(make("output"));
      const button = make("button", { type: "button" }, svg, label, outputs[index]);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const isShown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(isShown));
        entry.plot.setSeries(index + 1, { show: isShown });
      });
      legend.append(button);
    }
    entry.showValues();
    keyboard(figure, entry, (index) => {
      const values = spec.lines.map(({ label }, column) => [label, entry.plot.data[column + 1][index]]);
      return [clock(start + index * step), ...values.filter(([, value]) => value != null).map(([label, value]) => `${label} ${spec.words(value)}`)].join(", ");
    });
    return entry;
  };
  const lonely = (plot, index) => {
    const values = plot.data[index];
    const found = [];
    for (let at = 0; at < values.length; at += 1) {
      if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
    }
    return found.length ? found : null;
  };

  const heatMap = (figure) => {
    const { bounds, counts } = run.heat;
    const most = counts.reduce((most, row) => row.reduce((left, right) => Math.max(left, right), most), 1);
    const shades = 24;
    // The logarithm: a bucket with a hundredth of the requests must still be seen.
    const shadeOf = (count) => Math.ceil((Math.log1p(count) / Math.log1p(most)) * shades);
    const cells = [];
    counts.forEach((row, at) => row.forEach((count, bucket) => {
      if (count > 0) (cells[shadeOf(count)] ??= []).push([at, bucket]);
    }));
    const ramp = (part) => {
      const stops = isDark() && !isPrinting ? [[31, 45, 68], [62, 118, 196], [222, 238, 255]] : [[226, 236, 250], [88, 146, 214], [10, 38, 92]];
      const [from, until, share] = part < 0.5 ? [stops[0], stops[1], part * 2] : [stops[1], stops[2], part * 2 - 1];
      return `rgb(${from.map((value, index) => Math.round(value + (until[index] - value) * share)).join(" ")})`;
    };
    const draw = (plot) => {
      const { ctx: context, bbox: box } = plot;
      const x = (at) => plot.valToPos(start + at * step, "x", true);
      const edges = bounds.map((bound) => Math.round(plot.valToPos(bound, "y", true)));
      context.save();
      context.beginPath();
      context.rect(box.left, box.top, box.width, box.height);
      context.clip();
      cells.forEach((places, shade) => {
        context.fillStyle = ramp(shade / shades);
        for (const [at, bucket] of places) {
          const [left, right] = [Math.round(x(at)), Math.round(x(at + 1))];
          if (right < box.left || left > box.left + box.width) continue;
          context.fillRect(left, edges[bucket + 1], Math.max(1, right - left), edges[bucket] - edges[bucket + 1]);
        }
      });
      context.restore();
      shade(plot, { areas: "phases", edges: true });
    };
    const output = make("output");
    const scale = make("canvas", { width: 120, height: 10 });
    one(".legend", figure).append(output, make("span", { className: "muted", textContent: "few" }), scale, make("span", { className: "muted", textContent: "many" }));
    redraws.push(() => {
      const pen = scale.getContext("2d");
      for (let at = 0; at < 120; at += 1) { pen.fillStyle = ramp(at / 119); pen.fillRect(at, 0, 1, 10); }
    });
    const entry = { figure, update: () => {} };
    const options = {
      ...common(figure, 250),
      scales: { x: timeScale, y: { distr: 3, range: () => [bounds[0], bounds[bounds.length - 1]] } },
      axes: [timeAxis, { ...axisLook, grid, ticks: { show: false }, size: 58, gap: 6, space: 30, values: (_, values) => values.map((value) => (value == null ? null : plain(value))) }],
      series: [{}, { points: { show: false }, stroke: "transparent" }],
      hooks: {
        ...hooks((plot) => {
          const { idx, top } = plot.cursor;
          const value = top >= 0 ? plot.posToVal(top, "y") : NaN;
          const bucket = bounds.findIndex((bound, index) => bound <= value && value < bounds[index + 1]);
          const count = idx == null || bucket < 0 ? undefined : counts[idx]?.[bucket];
          output.textContent = count === undefined || !plot.over.matches(":hover") ? "" : `${short(bounds[bucket])} to ${short(bounds[bucket + 1])} ms: ${grouped(count, 0)}`;
          showTime(idx);
        }),
        draw: [draw],
      },
    };
    options.cursor.y = true;
    options.cursor.points = { show: false };
    entry.plot = new uPlot(options, [middles, middles.map(() => bounds[0])], one(".plot", figure));
    keyboard(figure, entry, (index) => {
      const row = counts[index] ?? [];
      const best = row.indexOf(Math.max(...row));
      return row[best] > 0 ? `${clock(start + index * step)}, most requests between ${short(bounds[best])} and ${short(bounds[best + 1])} ms` : `${clock(start + index * step)}, no request`;
    });
    return entry;
  };

  let isPrinting = false;
  for (const figure of all(".chart")) {
    const name = figure.dataset.chart;
    plots.push(name === "heat" ? heatMap(figure) : lineChart(figure, charts[name]));
  }
  setRange(whole.min, whole.max);
  redraws.push(() => plots.forEach(({ plot }) => plot.redraw(false, true)));

  const fit = (width) => plots.forEach(({ figure, plot }) => {
    const wanted = width ?? Math.max(200, one(".plot", figure).clientWidth);
    if (plot.width !== wanted) plot.setSize({ width: wanted, height: plot.height });
  });
  new ResizeObserver(() => { if (!isPrinting) fit(); }).observe(one("#over-time"));
  // Paper is light, and as wide as A4 within its margins.
  const chosenTheme = () => root.dataset.theme;
  let themeBefore;
  addEventListener("beforeprint", () => {
    if (isPrinting) return;
    isPrinting = true;
    themeBefore = chosenTheme();
    root.dataset.theme = "light";
    fit(650);
    redraw();
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    if (themeBefore === undefined) delete root.dataset.theme; else root.dataset.theme = themeBefore;
    fit();
    redraw();
  });

  const select = one("#endpoint");
  const choose = (endpoint) => {
    chosen = endpoint;
    select.value = endpoint === null ? "" : String(endpoint);
    plots.forEach(({ update }) => update());
    setRange(range.min, range.max);
  };
  select.addEventListener("change", () => choose(select.value === "" ? null : Number(select.value)));
  one("#zoom-in").addEventListener("click", () => zoom(0.5));
  one("#zoom-out").addEventListener("click", () => zoom(2));
  one("#zoom-reset").addEventListener("click", () => setRange(whole.min, whole.max));
  const goToCharts = () => {
    one("#over-time").scrollIntoView();
    one(".chart .plot").focus({ preventScroll: true });
  };
  for (const button of all(".show")) {
    button.addEventListener("click", () => {
      const { from, until, endpoint } = button.dataset;
      choose(endpoint === "" ? null : Number(endpoint));
      if (from === "") setRange(whole.min, whole.max);
      else {
        const [begin, end] = [Number(from), until === "" ? steps * step : Number(until)];
        const margin = Math.max((end - begin) * 0.6, 10 * step);
        setRange(start + begin - margin, start + end + margin);
      }
      goToCharts();
    });
  }
  for (const button of all(".show-endpoint")) {
    button.addEventListener("click", () => { choose(Number(button.dataset.endpoint)); goToCharts(); });
  }

  // The figures as a table, for who wants to read or copy them: made when it is opened.
  const asTable = one(".as-table");
  const fillTable = () => {
    if (!asTable.open) return;
    const series = seriesOf(chosen);
    const heads = ["Time (UTC)", "Requests/s", "Failed", "med ms", "p95 ms", "p99 ms", "VUs", "Iterations/s"];
    const lists = [[series.rate, short], [series.failed, percent], [series.med, short], [series.p95, short], [series.p99, short], [run.vus, short], [run.iterations, short]];
    const head = make("tr", {}, ...heads.map((words, index) => make("th", { scope: "col", className: index ? "n" : "", textContent: words })));
    const body = make("tbody", {}, ...middles.map((_, index) => make("tr", {}, make("th", { scope: "row", textContent: clock(start + index * step) }),
      ...lists.map(([values, words]) => make("td", { className: "n", textContent: values[index] == null ? "-" : words(values[index]) })))));
    one(".scroll", asTable).replaceChildren(make("table", {}, make("thead", {}, head), body));
  };
  asTable.addEventListener("toggle", fillTable);
  select.addEventListener("change", fillTable);
  showTheme();
  root.dataset.ready = String(Math.round(performance.now()));
})();
