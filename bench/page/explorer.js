// Draws what is chosen, now and after every change of the choice or of the address.
const $ = (id) => document.getElementById(id);
const THEMES = ["", "light", "dark"];
let drawing = 0; // of several drawings under way the last one counts
let opener = null; // what had the focus before a square was opened

async function draw() {
  const mine = ++drawing, metric = shownMetric();
  $("about").textContent = page().about;
  if (!metric) return drawNothing();
  const numbers = await unpacked(metric.packed);
  if (mine !== drawing) return;
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  const rules = page().rules.map((_, i) => i).filter((i) => words.every((word) => page().rules[i].toLowerCase().includes(word)));
  const columns = chosenColumns(metric, numbers), { kinds } = page();
  if (!rules.length || !columns.length) {
    for (const id of ["heatmap", "legend", "list"]) $(id).replaceChildren();
    $("said").textContent = "Nothing is left by this choice: widen the attack, the target class or the names.";
    return;
  }
  const attacks = (kind) => kind === "attacked" || kind === "worst";
  const lone = kinds.some(attacks) && !columns.some((i) => attacks(kinds[i])) ? " No attack is left by this choice." : "";
  const cut = drawHeatmap($("heatmap"), numbers, metric, rules, columns, openSquare, sortBy);
  const states = new Set(rules.flatMap((r) => columns.map((c) => square(numbers, c, r).state)));
  drawLegend($("legend"), metric, states);
  if ($("list-part").open) drawList($("list"), numbers, metric, rules, columns, openSquare, sortList);
  const left = cut ? `; the last ${counted(cut, "column")} not drawn, for there are too many: choose fewer` : "";
  const missing = page().left_out.length ? ` Not in this file, for want of room: ${page().left_out.join(", ")}.` : "";
  $("said").textContent = `${metric.label}: ${counted(rules.length, "rule")}, ${counted(rules.length * columns.length, "square")}${left}.${lone}${missing}`;
}

function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function drawNothing() {
  for (const id of ["heatmap", "legend", "list"]) $(id).replaceChildren();
  $("said").textContent = page().left_out.length
    ? `Not in this file, for want of room: ${page().left_out.join(", ")}. tables/statistics.csv has them.`
    : "No cell has a number for this metric.";
}

function changed(rebuild) {
  if (rebuild) {
    const had = document.activeElement && document.activeElement.name;
    buildChoice($("choice"), changed);
    if (had && $("choice").elements[had]) $("choice").elements[had].focus();
  }
  writeAddress(false);
  draw();
}

function sortBy(name) {
  state.sort = state.sort === name ? "-" + name : state.sort === "-" + name ? "" : name;
  changed(false);
}

function sortList(key) {
  state.list = state.list === key ? "-" + key : key;
  changed(false);
}

function openSquare(here) {
  const column = here.worst === -1 ? here.column : here.worst; // the worst attack of a rule is one of its attacks
  state.square = `${page().rules[here.rule]} | ${page().columns[column]}`;
  state.seed = "";
  opener = document.activeElement;
  writeAddress(true);
  showSquare();
}

async function showSquare() {
  const dialog = $("square");
  if (!state.square) {
    if (dialog.open) dialog.close();
    return;
  }
  const [rule, column] = [page().rules, page().columns].map((names, side) =>
    names.findIndex((name) => (side ? state.square.endsWith(` | ${name}`) : state.square.startsWith(`${name} | `)) && known(state.square, name, side)));
  const metric = shownMetric() || { name: "accuracy", ...page().metrics.accuracy };
  if (rule === -1 || column === -1 || !metric.packed) {
    $("strange").textContent = `Not in this report, and left out of the link: square=${state.square}.`;
    Object.assign(state, { square: "", seed: "" });
    writeAddress(false);
    return;
  }
  const here = square(await unpacked(metric.packed), column, rule);
  $("square-name").textContent = `${page().rules[rule]}: ${page().columns[column]}`;
  await drawSquare($("square-body"), here, (seed) => {
    state.seed = seed;
    writeAddress(false);
    showSquare().then(() => $("square-body").querySelector('[aria-pressed="true"]').focus());
  });
  if (!dialog.open) {
    dialog.showModal();
    dialog.scrollTop = 0;
    $("square-name").focus();
  }
}

// Whether a link's "rule | column" is this rule (side 0) or column (side 1) with any partner: names may hold " | ".
function known(text, name, side) {
  const other = side ? text.slice(0, -(name.length + 3)) : text.slice(name.length + 3);
  return (side ? page().rules : page().columns).includes(other);
}

function closed() {
  if (!state.square) return;
  const before = state.square;
  Object.assign(state, { square: "", seed: "" });
  writeAddress(false);
  if (opener && opener.isConnected) opener.focus();
  else focusNamed(before);
}

function focusNamed(text) {
  const found = Array.from(document.querySelectorAll("button.square")).find((made) => {
    const [rule, column] = (made.dataset.at || "").split(" ").map(Number);
    return `${page().rules[rule]} | ${page().columns[column]}` === text;
  });
  if (found) focusSquare(found);
}

function applyTheme() {
  const name = THEMES.includes(state.theme) ? state.theme : "";
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = `Theme: ${name || "auto"}`;
}

function start() {
  const strange = readAddress();
  $("strange").textContent = strange.length ? `Not in this report, and left out of the link: ${strange.join(", ")}.` : "";
  if (strange.length) writeAddress(false);
  applyTheme();
  buildChoice($("choice"), changed);
  $("list-part").open = Boolean(state.list);
  draw();
  showSquare();
}

// A page that its server sends says which state of the results it shows; it is loaded again when there is a newer one,
// but not under the reader's hands.
async function refresh() {
  const version = document.documentElement.dataset.version;
  const busy = $("square").open || ["INPUT", "SELECT"].includes(document.activeElement.tagName);
  try {
    const answer = await fetch("version", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== version && !busy) location.reload();
  } catch { /* the server has ended: the page stays as it is */ }
}

$("explorer").hidden = $("theme").hidden = false;
$("theme").addEventListener("click", () => {
  state.theme = THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length];
  applyTheme();
  writeAddress(false);
});
$("list-part").addEventListener("toggle", () => {
  if ($("list-part").open === Boolean(state.list)) return draw();
  state.list = $("list-part").open ? "open" : "";
  changed(false);
});
$("close").addEventListener("click", () => $("square").close());
$("square").addEventListener("click", (event) => { if (event.target === $("square")) $("square").close(); });
$("square").addEventListener("close", closed);
window.addEventListener("hashchange", start);
window.addEventListener("popstate", start);
if (document.documentElement.dataset.version) setInterval(refresh, 3000);
start();
