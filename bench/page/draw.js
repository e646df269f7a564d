// Elements, and drawings made of them. Text goes in as text, never as markup.

function element(tag, given, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A name that may be broken behind _ | , and ( where there is little room.
function breakable(text) {
  return element("span", {}, ...text.split(/(?<=[_|,(])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part])));
}

function drawn(tag, given, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The colour of a number of the shown metric, and black or white for the text on it.
function colour(element, tenths, metric) {
  const stops = DATA.colours[metric.higher ? "good" : "harm"];
  const [low, high] = metric.range;
  const at = Math.round((Math.min(Math.max((tenths - low) / (high - low || 1), 0), 1)) * (stops.length - 1));
  element.style.backgroundColor = stops[at][0];
  element.style.color = stops[at][1];
}

// A share of a row of a confusion matrix, on paper of either theme.
function shade(element, name, share) {
  element.style.backgroundColor = `color-mix(in srgb, var(${name}) ${share}%, transparent)`;
  if (share > 55) element.style.color = "#fff";
}

// Lines over rounds. lines: [{label, kind (a class), rounds, values (tenths of a per cent)}]
function chart(title, lines, unit) {
  const width = 400, height = 210, left = 44, right = 12, top = 12, bottom = 34;
  const known = lines.flatMap((line) => line.values).filter((value) => value !== null);
  if (!known.length) return element("p", { class: "notes" }, `${title}: no numbers.`);
  const rounds = lines.flatMap((line) => line.rounds);
  const [first, last] = [Math.min(...rounds), Math.max(...rounds)];
  const ticks = steps(Math.min(...known) / 10, Math.max(...known) / 10);
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const x = (round) => left + ((round - first) / (last - first || 1)) * (width - left - right);
  const y = (tenths) => top + (1 - (tenths / 10 - low) / (high - low)) * (height - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart", "aria-label": told(title, lines) });
  for (const tick of ticks) {
    svg.append(drawn("line", { x1: left, x2: width - right, y1: y(10 * tick), y2: y(10 * tick), class: "grid" }));
    svg.append(drawn("text", { x: left - 6, y: y(10 * tick) + 4, "text-anchor": "end" }, String(+tick.toFixed(2))));
  }
  for (const tick of steps(first, last, 5).filter((t) => Number.isInteger(t) && t >= first && t <= last)) {
    svg.append(drawn("text", { x: x(tick), y: height - 16, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(drawn("text", { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle" }, "round"));
  for (const line of lines) {
    const points = line.rounds.map((round, i) => [round, line.values[i]]).filter((point) => point[1] !== null);
    const path = points.map(([round, value], i) => `${i ? "L" : "M"}${x(round).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    svg.append(drawn("path", { d: path, class: `line ${line.kind}` }));
    if (points.length === 1) {
      svg.append(drawn("circle", { cx: x(points[0][0]), cy: y(points[0][1]), r: 3, class: `dot ${line.kind}` }));
    }
  }
  const seen = new Map(lines.map((line) => [line.label, line.kind]));
  const keys = Array.from(seen, ([label, kind]) => element("span", { class: `key ${kind}` }, label));
  return element("figure", { class: "drawing" }, element("figcaption", {}, `${title} (${unit})`), svg, element("p", { class: "keys" }, ...keys), numbersOf(lines));
}

// Round ticks over a range.
function steps(low, high, most = 6) {
  const span = high - low || Math.max(1, Math.abs(high) * 0.1);
  const raw = span / most, base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * base).find((s) => s >= raw);
  const found = [];
  for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i++) found.push(i * step);
  return found.length > 1 ? found : [found[0], found[0] + step];
}

function told(title, lines) {
  const strong = lines.filter((line) => line.main && line.values.length);
  const ends = strong.map((line) => `${line.label} from ${percent(line.values[0])} to ${percent(line.values[line.values.length - 1])}`);
  return `${title}: ${ends.join("; ")}. The numbers follow as a table.`;
}

function numbersOf(lines) {
  const strong = lines.filter((line) => line.main);
  const rounds = Array.from(new Set(strong.flatMap((line) => line.rounds))).sort((a, b) => a - b);
  const head = element("tr", {}, element("th", { scope: "col" }, "round"), ...strong.map((line) => element("th", { scope: "col" }, line.label)));
  const rows = rounds.map((round) => element("tr", {}, element("th", { scope: "row" }, String(round)),
    ...strong.map((line) => element("td", {}, percent(line.values[line.rounds.indexOf(round)])))));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("details", {}, element("summary", {}, "numbers"), element("div", { class: "wide" }, table));
}

// counts: L x L, row by row; rows are true classes. With a column more for images without a prediction where there are any.
function confusion(title, counts, classes) {
  const n = classes.length, across = counts.length / n, names = across > n ? [...classes, "no prediction"] : classes;
  const head = element("tr", {}, element("th", { scope: "col" }, "true \\ predicted"), ...names.map((name) => element("th", { scope: "col" }, name)));
  const rows = classes.map((name, i) => {
    const line = counts.slice(i * across, (i + 1) * across), whole = line.reduce((a, b) => a + b, 0);
    const cells = line.map((count, j) => {
      const made = element("td", { class: i === j ? "right" : null }, count ? String(count) : "·");
      if (count && whole) shade(made, i === j ? "--right" : "--wrong", Math.round(100 * count / whole));
      return made;
    });
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  });
  const table = element("table", { class: "confusion" }, element("caption", {}, title), element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "wide" }, table);
}
