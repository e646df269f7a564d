// A square opened: every metric of it, its seeds, and of one seed curves, confusion matrices, configuration, command.

async function drawSquare(place, here, chooseSeed) {
  const parts = [await metricsTable(here)];
  const behind = page().details, rule = here.rule;
  if (here.caveat) parts.unshift(element("p", { class: "warning" }, `${MARK} ${here.caveat}`));
  if (here.reason) parts.unshift(element("p", { class: "warning" }, `${WORDS[here.state]}: ${here.reason}`));
  if (!behind.parts.seeds) {
    parts.push(element("p", { class: "notes" }, "Seeds, curves and confusion matrices of so many cells do not fit into one file; tables/cells.csv has every cell."));
    place.replaceChildren(...parts);
    return;
  }
  const cells = await unpacked(behind.parts.seeds[rule]);
  const column = page().kinds[here.column] === "clean_of" ? cleanColumn(here.column) : here.column;
  const members = cells.column.map((c, i) => (c === column ? i : -1)).filter((i) => i !== -1).sort((a, b) => cells.seed[a] - cells.seed[b]);
  if (!members.length) {
    parts.push(element("p", { class: "notes" }, "No cell of this square has been run."));
    place.replaceChildren(...parts);
    return;
  }
  const name = (i) => seedName(cells, members, i);
  const chosen = members.find((i) => name(i) === state.seed) ?? members.find((i) => cells.status[i] === 0) ?? members[0];
  parts.push(seedsTable(cells, members, chosen, name, chooseSeed));
  parts.push(...(await aboutCell(cells, members, chosen, name, rule)));
  place.replaceChildren(...parts);
}

// Several cells of one seed (clean twins that were told another f) are numbered.
function seedName(cells, members, i) {
  const same = members.filter((j) => cells.seed[j] === cells.seed[i]);
  return same.length > 1 ? `${cells.seed[i]}.${same.indexOf(i) + 1}` : String(cells.seed[i]);
}

// The column of clean cells that shares the settings of another column.
function cleanColumn(column, kind = "clean", attack = false) {
  const { facets, kinds } = page();
  return kinds.findIndex((k, i) => k === kind && facets.every((facet) => {
    if (facet.of[i] === -1 || facet.name === "target" || (facet.name === "attack" && !attack)) return true;
    return facet.of[i] === facet.of[column];
  }));
}

async function metricsTable(here) {
  const rules = page().rules.length;
  const at = async (name, column) => {
    const found = page().metrics[name];
    if (!found || column === -1) return "–";
    const numbers = await unpacked(found.packed), i = column * rules + here.rule;
    return plusMinus(numbers.mean[i], numbers.half[i], numbers.ends[i]);
  };
  const attacked = page().kinds[here.column] === "attacked";
  const rows = [];
  for (const metric of DATA.metrics) {
    const column = metric.mapped ? cleanColumn(here.column, "clean_of", true) : cleanColumn(here.column);
    const clean = page().pooled ? await at(metric.name + "_clean", here.column) : await at(metric.name, column);
    const values = attacked
      ? [await at(metric.name, here.column), clean, await at(metric.name + "_damage", here.column), await at(metric.name + DATA.shown[2].name, here.column)]
      : [await at(metric.name, here.column), await at(metric.name + DATA.shown[2].name, here.column)];
    if (values.some((text) => text !== "–")) rows.push([metric.label, ...values]);
  }
  if (!rows.length) return element("p", { class: "notes" }, "No number (yet).");
  const names = attacked ? ["attacked", "clean twin", "damage", DATA.shown[2].label] : [DATA.shown[0].label, DATA.shown[2].label];
  return tableOf("Mean over seeds (%; damage in percentage points)", ["metric", ...names], rows);
}

function tableOf(caption, names, rows) {
  return element("div", { class: "wide" }, element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, element("th", { scope: "row" }, row[0]), ...row.slice(1).map((text) => element("td", {}, text)))))));
}

function seedsTable(cells, members, chosen, name, chooseSeed) {
  const own = cells.numbers[state.metric] ? state.metric : "accuracy";
  const label = DATA.metrics.find((metric) => metric.name === own).label;
  const attacked = members.some((i) => cells.twin[i] !== i && cells.twin[i] !== -1);
  const [value, clean, damage] = cells.numbers[own] || [[], [], []];
  const [least, most, kinds] = cells.late[own] || [[], [], []];
  const names = ["seed", ...(attacked ? ["attacked", "late rounds", "clean twin", "damage", "labels flipped", "influence"] : [label, "late rounds"]), "left out", "seconds", "key"];
  const rows = members.map((i) => {
    const choose = element("button", { type: "button", class: "link", "aria-pressed": String(i === chosen), onclick: () => chooseSeed(name(i)) }, name(i));
    const flips = cells.flips[1][i] ? `${cells.flips[2][i]} of ${cells.flips[0][i]}` : "–";
    const late = `${percent(least[i])} to ${percent(most[i])}${kinds[i] >= 0 ? `, ${DATA.stability[kinds[i]]}` : ""}`;
    const told = cells.status[i] === 0
      ? [...(attacked ? [percent(value[i]), late, percent(clean[i]), percent(damage[i]), flips, `${percent(cells.influence[i])} %`] : [percent(value[i]), late]),
        String(cells.nonfinite[i] ?? "–"), cells.seconds[0][i] === null ? "–" : (cells.seconds[0][i] / 100).toFixed(1)]
      : [["done", "infeasible", "failed"][cells.status[i]], ...Array(names.length - 3).fill("–")];
    return element("tr", { class: i === chosen ? "chosen" : null }, element("th", { scope: "row" }, choose), ...told.map((text) => element("td", {}, text)),
      element("td", {}, element("code", { title: cells.key[i] }, cells.key[i].slice(0, 12))));
  });
  const caption = `Seeds: ${label}, ${DATA.shown[0].label} (%${attacked ? "; damage in percentage points" : ""}). Choose one to see it below.`;
  const table = element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...names.map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, ...rows));
  const notes = attacked ? "Late rounds: least to most in the last fifth of training, and whether it is steady there. Labels flipped: changed of eligible, over the malicious clients. Influence: their summed weight in the update, mean over rounds. Left out: non-finite updates." : "Late rounds: least to most in the last fifth of training, and whether it is steady there. Left out: non-finite updates.";
  return element("div", {}, element("div", { class: "wide" }, table), element("p", { class: "notes" }, notes));
}

async function aboutCell(cells, members, chosen, name, rule) {
  const behind = page().details, twin = cells.twin[chosen] === chosen ? -1 : cells.twin[chosen];
  const parts = [element("h3", { id: "seed-name" }, `Seed ${name(chosen)}`)];
  const reason = cells.reason[chosen];
  if (reason !== -1) parts.push(element("p", { class: "warning" }, behind.texts[reason]));
  if (cells.mapping[chosen] !== -1) parts.push(element("p", {}, `Classes: ${behind.texts[cells.mapping[chosen]]}`));
  if (cells.status[chosen] === 0) {
    if (behind.parts.curves) parts.push(curves(await unpacked(behind.parts.curves[rule]), cells, members, chosen, twin));
    else parts.push(leftOut("Curves"));
    if (behind.parts.confusion) parts.push(matrices(await unpacked(behind.parts.confusion[rule]), chosen, twin));
    else parts.push(leftOut("Confusion matrices"));
  }
  parts.push(configuration(cells, chosen), ...command(cells, chosen));
  return parts;
}

function leftOut(what) {
  return element("p", { class: "notes" }, `${what} of so many cells do not fit into one file; a grid of fewer cells has them.`);
}

function curves(told, cells, members, chosen, twin) {
  const line = (i, values, label, kind, main) => ({ label, kind, main, rounds: told.rounds[told.which[i]] || [], values: values[i] });
  const others = members.filter((i) => i !== chosen && told.which[i] !== -1);
  const attacked = twin !== -1, own = attacked ? "attacked" : "clean";
  const accuracy = [
    ...others.map((i) => line(i, told.accuracy, "other seeds", `other ${own}`, false)),
    ...(attacked && told.which[twin] !== -1 ? [line(twin, told.accuracy, "clean twin", "clean", true)] : []),
    line(chosen, told.accuracy, own, own, true),
  ];
  const drawings = [chart("Accuracy over rounds", accuracy, "%")];
  if (told.influence[chosen].length) {
    const weight = [...others.filter((i) => told.influence[i].length).map((i) => line(i, told.influence, "other seeds", "other attacked", false)), line(chosen, told.influence, "malicious clients", "attacked", true)];
    drawings.push(chart("Influence of the malicious clients over rounds", weight, "% of the update"));
  }
  return element("div", { class: "pair" }, ...drawings);
}

function matrices(told, chosen, twin) {
  const { classes } = page(), made = [];
  if (told.counts[chosen]) made.push(confusion(twin === -1 ? "Confusion matrix, last round" : "Attacked, last round", told.counts[chosen], classes));
  if (twin !== -1 && told.counts[twin]) made.push(confusion("Clean twin, last round", told.counts[twin], classes));
  if (told.stamped[chosen]) made.push(confusion("Attacked, test images with the trigger", told.stamped[chosen], classes));
  const notes = "Confusion matrices: test images, true classes down, predicted across; blue on the diagonal, orange what was taken for another class; the stronger the colour, the larger the share of the row.";
  return element("div", {}, element("div", { class: "pair" }, ...made), element("p", { class: "notes" }, notes));
}

function configuration(cells, chosen) {
  const varied = page().details.fields.map((field, i) => [field.label, field.values[cells.fields[i][chosen]]]);
  const rows = [...varied, ...page().constant].map(([label, value]) => element("tr", {}, element("th", { scope: "row" }, label), element("td", { class: "text" }, value)));
  return element("details", { class: "part" }, element("summary", {}, "Configuration"), element("div", { class: "wide" }, element("table", { class: "fields" }, element("tbody", {}, ...rows))));
}

function command(cells, chosen) {
  const { start, fields } = page().details;
  const key = element("p", {}, "Key ", element("code", { id: "key" }, cells.key[chosen]));
  if (start === null) return [key, element("p", { class: "notes" }, "How this grid was run is not recorded, so no command can be told.")];
  const options = fields.map((field, i) => (field.options ? field.options[cells.fields[i][chosen]] : null)).filter(Boolean);
  const text = [start, ...options].join(" ");
  const said = element("span", { role: "status" });
  const copy = element("button", { type: "button", onclick: () => copied(text, said) }, "Copy");
  return [key, element("p", {}, "Run this cell (and its clean twin) again:"), element("pre", { id: "command", tabindex: "0" }, text), element("p", { class: "screen" }, copy, " ", said)];
}

function copied(text, said) {
  const done = () => (said.textContent = "copied");
  const failed = () => { getSelection().selectAllChildren(document.getElementById("command")); said.textContent = "selected: press Ctrl+C"; };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, failed);
  else failed();
}
