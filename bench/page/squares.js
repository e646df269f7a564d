// The heatmap, a table whose squares are buttons; and the same squares as a list.
const MOST_SQUARES = 4000, MOST_LINES = 500;
const WORDS = { infeasible: "infeasible", failed: "failed", missing: "not run yet", undefined: "not defined", absent: "not in the grid" };
const MARK = "‡"; // of a square whose caveat says what must be known of its cells
const SIGNS = { infeasible: "–", failed: "!", missing: "?", undefined: "n/a", absent: "·" };

// Everything about one square. numbers: of the shown metric.
function square(numbers, column, rule) {
  const at = column * page().rules.length + rule, mean = numbers.mean[at];
  const state_ = mean === null ? DATA.states[page().states[at]] : "done";
  const reason = page().reason[at] === -1 ? "" : page().reasons[page().reason[at]];
  const behind = numbers.worst && numbers.worst[at] !== -1 ? numbers.worst[at] * page().rules.length + rule : at;
  const told = numbers.caveat[behind];
  const caveat = told === undefined ? "" : page().caveats[told];
  return { column, rule, mean, half: numbers.half[at], ends: numbers.ends[at], n: numbers.n[at], planned: page().planned[at], state: state_, reason, caveat,
    mark: ["", "best", "tied"][numbers.mark[at]], worst: numbers.worst ? numbers.worst[at] : -1 };
}

// A square in words.
function described(here) {
  const where = `${page().rules[here.rule]}, ${page().columns[here.column]}`;
  if (here.state !== "done") return `${where}: ${WORDS[here.state]}${here.reason ? `, ${here.reason}` : ""}`;
  const mark = { best: ", best of the rules", tied: ", cannot be told from the best" }[here.mark] || "";
  const worst = here.worst === -1 ? "" : `, under ${page().columns[here.worst]}`;
  return `${where}: ${plusMinus(here.mean, here.half, here.ends)} ${shownMetric().unit}${worst}${mark}; ${here.n} of ${Math.max(here.n, here.planned)} seeds${here.caveat ? `; ${here.caveat}` : ""}`;
}

function button(here, metric, open) {
  const text = here.state === "done" ? percent(here.mean) + (here.caveat ? MARK : "") : SIGNS[here.state];
  const made = element("button", { type: "button", class: `square ${here.state} ${here.mark}`, tabindex: "-1", title: described(here), "aria-label": described(here) }, element("b", {}, text));
  if (here.state === "done") {
    colour(made, here.mean, metric);
    const partly = here.n < here.planned ? ` (${here.n}/${here.planned})` : "";
    made.append(element("small", {}, here.half === null ? partly || "one seed" : `${interval(here.half, here.ends)}${partly}`));
  }
  made.dataset.at = `${here.rule} ${here.column}`;
  made.addEventListener("click", () => open(here));
  return made;
}

// rules: numbers of the rules shown; columns: of the columns. Returns how many columns were left out for want of room.
function drawHeatmap(place, numbers, metric, rules, columns, open, sortBy) {
  const head = heads(columns);
  const down = state.layout ? state.layout === "down" : columns.length > 12 && columns.length > rules.length;
  const most = Math.max(1, Math.floor(MOST_SQUARES / Math.max(1, rules.length)));
  const kept = columns.slice(0, most);
  const at = (rule, column) => button(square(numbers, column, rule), metric, open);
  const table = element("table", { class: "heatmap" }, element("caption", {}, caption(metric, head)));
  if (down) rulesAcross(table, head, sorted(kept, numbers, true), rules, at, sortBy);
  else rulesDown(table, head, kept, sorted(rules, numbers, false), at, sortBy);
  place.replaceChildren(table);
  const first = table.querySelector("button.square");
  if (first) first.tabIndex = 0;
  table.onkeydown = moveFocus;
  return columns.length - kept.length;
}

function caption(metric, head) {
  const pooled = page().pooled ? ["clean: mean over the declared f of the clean twins"] : [];
  return [`${metric.label} (${metric.unit})`, ...head.fixed, ...pooled].join(", ");
}

// What stands in lines, in the order that a click on a head asks for: "name" best first, "-name" worst first.
function sorted(lines, numbers, down) {
  const name = state.sort.replace(/^-/, ""), names = down ? page().rules : page().columns;
  const by = names.indexOf(name);
  if (!state.sort || by === -1) return lines;
  const higher = page().metrics[shownMetric().name].higher === !state.sort.startsWith("-");
  const value = (line) => numbers.mean[down ? line * page().rules.length + by : by * page().rules.length + line];
  const key = (line) => (value(line) === null ? NaN : value(line));
  return lines.slice().sort((a, b) => compared(key(a), key(b), !higher));
}

function sortHead(name, text, sortBy, given) {
  const now = state.sort === name ? "descending" : state.sort === "-" + name ? "ascending" : null;
  const made = element("button", { type: "button", class: "sort", title: `sort by ${name}`, onclick: () => sortBy(name) }, breakable(text));
  return element("th", { scope: "col", "aria-sort": now, ...given }, made);
}

function rulesDown(table, head, columns, rules, at, sortBy) {
  // As in the tables, a clean column says so in the last line.
  const lines = columns.map((column) => (page().kinds[column] === "clean" ? head.of(column).reverse() : head.of(column)));
  const names = ["attack", ...head.levels.map((facet) => facet.label)];
  const rows = names.map((name, level) => {
    const last = level === names.length - 1;
    const corner = element("th", { scope: last ? "col" : null, class: "corner" }, last && level ? `rule \\ ${name}` : level ? name : last ? "rule" : "attack");
    const row = element("tr", {}, corner);
    for (let i = 0; i < columns.length; ) {
      let next = i + 1;
      while (!last && next < columns.length && lines[next][level] === lines[i][level]) next++;
      const text = lines[i][level];
      if (last) row.append(sortHead(page().columns[columns[i]], text || "all", sortBy));
      else row.append(element(text ? "th" : "td", { scope: text ? "colgroup" : null, colspan: next - i }, text));
      i = next;
    }
    return row;
  });
  table.append(element("thead", {}, ...rows));
  table.append(element("tbody", {}, ...rules.map((rule) =>
    element("tr", {}, element("th", { scope: "row" }, breakable(page().rules[rule])), ...columns.map((column) => element("td", {}, at(rule, column)))))));
}

function rulesAcross(table, head, columns, rules, at, sortBy) {
  const names = ["attack", ...head.levels.map((facet) => facet.label)];
  table.append(element("thead", {}, element("tr", {},
    ...names.map((name, i) => element("th", { scope: "col", class: i ? null : "corner" }, name)),
    ...rules.map((rule) => sortHead(page().rules[rule], page().rules[rule], sortBy)))));
  const body = element("tbody", {}), lines = columns.map(head.of);
  columns.forEach((column, i) => {
    const row = element("tr", {});
    lines[i].forEach((text, level) => {
      const same = (j) => level === 0 && names.length > 1 && lines[j] && lines[j][0] === text;
      if (same(i - 1)) return;
      let span = 1;
      while (same(i + span)) span++;
      row.append(element("th", { scope: span > 1 ? "rowgroup" : "row", rowspan: span > 1 ? span : null, class: level ? "level" : null }, text));
    });
    row.append(...rules.map((rule) => element("td", {}, at(rule, column))));
    body.append(row);
  });
  table.append(body);
}

// Arrow keys move between squares; Home and End go to the ends of the row. Only one square is a stop of the Tab key.
function moveFocus(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e6], End: [0, 1e6] }[event.key];
  const here = event.target.closest("button.square");
  if (!step || !here) return;
  event.preventDefault();
  const rows = Array.from(event.currentTarget.tBodies[0].rows, (row) => Array.from(row.querySelectorAll("button.square")));
  const r = rows.findIndex((row) => row.includes(here)), c = rows[r].indexOf(here);
  const clip = (value, length) => Math.min(Math.max(value, 0), length - 1);
  const row = rows[clip(r + step[0], rows.length)];
  focusSquare(row[clip(c + step[1], row.length)]);
}

function focusSquare(made) {
  made.closest("table").querySelectorAll('button.square[tabindex="0"]').forEach((other) => (other.tabIndex = -1));
  made.tabIndex = 0;
  made.focus();
}

// The squares as a list, one line each; state.list is "open", or what it is sorted by.
function drawList(place, numbers, metric, rules, columns, open, sortBy) {
  const facets = page().facets.filter((facet) => facet.values.length > 1);
  const keys = ["rule", ...facets.map((facet) => facet.label), "value", "interval", "seeds"];
  const lines = rules.flatMap((rule) => columns.map((column) => {
    const here = square(numbers, column, rule), kind = page().kinds[column];
    const fields = facets.map((facet) => {
      if (facet.name === "attack" && kind !== "attacked") return { clean: "clean", worst: "worst attack" }[kind] || `${facet.values[facet.of[column]]}, clean`;
      return facet.of[column] === -1 ? "" : facet.values[facet.of[column]];
    });
    return { here, texts: [page().rules[rule], ...fields], values: [here.mean, here.half, here.n] };
  })).filter((line) => line.here.state !== "absent");
  const by = keys.indexOf(state.list.replace(/^-/, "")), up = !state.list.startsWith("-");
  if (by >= 0) lines.sort((a, b) => order(a, b, by, up));
  const rows = lines.slice(0, MOST_LINES).map((line) => {
    const { here, texts } = line;
    const link = element("button", { type: "button", class: "link", onclick: () => open(here) }, texts[0]);
    const value = here.state === "done" ? percent(here.mean) + (here.caveat ? MARK : "") : `${SIGNS[here.state]} ${WORDS[here.state]}`;
    return element("tr", {}, element("th", { scope: "row" }, link), ...texts.slice(1).map((text) => element("td", { class: "text" }, text)),
      element("td", { class: here.mark || null, title: described(here) }, value), element("td", {}, here.half === null ? "" : interval(here.half, here.ends)),
      element("td", {}, here.planned ? `${here.n} of ${Math.max(here.n, here.planned)}` : ""));
  });
  const headRow = keys.map((key) => {
    const now = state.list === key ? "ascending" : state.list === "-" + key ? "descending" : null;
    const kind = facets.some((facet) => facet.label === key) ? "text" : null;
    return element("th", { scope: "col", class: kind, "aria-sort": now }, element("button", { type: "button", class: "sort", onclick: () => sortBy(key) }, key));
  });
  const cut = lines.length > rows.length ? `, the first ${rows.length} of ${lines.length}: choose or sort for others` : "";
  place.replaceChildren(element("table", {}, element("caption", {}, `${metric.label} (${metric.unit})${cut}`),
    element("thead", {}, element("tr", {}, ...headRow)), element("tbody", {}, ...rows)));
}

function order(a, b, by, up) {
  if (by < a.texts.length) return (up ? 1 : -1) * a.texts[by].localeCompare(b.texts[by], undefined, { numeric: true });
  const value = (line) => { const v = line.values[by - line.texts.length]; return v === null ? NaN : v; };
  return compared(value(a), value(b), up);
}

// What the colours and signs mean.
function drawLegend(place, metric, states) {
  const stops = DATA.colours[metric.higher ? "good" : "harm"];
  const bar = element("span", { class: "bar", role: "img", "aria-label": `colours from ${percent(metric.range[0])} to ${percent(metric.range[1])} ${metric.unit === "%" ? "per cent" : metric.unit}` });
  bar.style.backgroundImage = `linear-gradient(to right, ${stops.map((stop) => stop[0]).join(", ")})`;
  const keys = Object.keys(WORDS).filter((name) => states.has(name)).map((name) =>
    element("span", { class: "entry" }, element("span", { class: `square ${name}`, "aria-hidden": "true" }, SIGNS[name]), WORDS[name]));
  place.replaceChildren(element("span", { class: "entry" }, percent(metric.range[0]), bar, `${percent(metric.range[1])} ${metric.unit}`), ...keys);
}
