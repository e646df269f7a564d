// What the page knows, and what the reader has chosen. The choice stands in the address behind "#", so that a link
// leads to the same view; what is at its default is left out of it.
//
// DATA.pages[i]: rules, columns (names), kinds of columns (clean, clean_of, attacked, worst), facets ({name, label,
// values, of: the number of each column's value, -1 for none}), and arrays of (column, rule) one column after the
// other: states, planned, reason (numbers of texts). metrics[name].packed holds mean, half, n, mark, worst in the same
// order, and by square ends (of intervals whose sides are not equally long) and caveat (numbers of texts). Numbers are tenths of
// a per cent, rounded as the tables round them; here nothing is computed from them.
const DATA = JSON.parse(document.getElementById("data").textContent);
const PLAIN = ["page", "metric", "show", "layout", "find", "sort", "list", "square", "seed", "theme"];
const state = {};

function page() {
  return DATA.pages.find(({ name }) => name === state.page) || DATA.pages[0];
}

// The metric that is shown, or null where the page has none under this name.
function shownMetric() {
  const name = state.metric + state.show;
  return page().metrics[name] ? { name, ...page().metrics[name] } : null;
}

// Returns what of the address is not understood.
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) delete state[name];
  Object.assign(state, { page: "", metric: "accuracy", show: "", layout: "", find: "", sort: "", list: "" });
  Object.assign(state, { square: "", seed: "", theme: "" });
  for (const name of PLAIN) if (given.has(name)) state[name] = given.get(name);
  if (!DATA.metrics.some(({ name }) => name === state.metric)) state.metric = "accuracy";
  if (!DATA.shown.some(({ name }) => name === state.show)) state.show = "";
  for (const facet of page().facets) {
    const value = given.get(facet.name) || "";
    state[facet.name] = facet.values.includes(value) || (facet.name === "attack" && value === "worst") ? value : "";
  }
  if (!given.has("attack") && tooMany()) state.attack = "worst";
  return Array.from(given).filter(([name, value]) => value && state[name] !== value && !(name === "attack" && value === "all")).map(([name, value]) => `${name}=${value}`);
}

// A grid of many attacks begins with the worst case; "attack=all" is then written out.
function tooMany() {
  return page().columns.length > 60 && page().kinds.includes("worst");
}

// push: whether "back" leads to the view before.
function writeAddress(push) {
  const told = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value) told.set(name, value);
  if (state.metric === "accuracy") told.delete("metric");
  if (tooMany() && state.attack === "worst") told.delete("attack");
  if (tooMany() && !state.attack) told.set("attack", "all");
  const address = "#" + told.toString();
  if (address === (location.hash || "#")) return;
  history[push ? "pushState" : "replaceState"](null, "", address === "#" ? location.pathname + location.search : address);
}

const unpackedTexts = new Map();

// JSON that was deflated to save room; each text is inflated once.
function unpacked(text) {
  if (!unpackedTexts.has(text)) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    unpackedTexts.set(text, new Response(stream).json());
  }
  return unpackedTexts.get(text);
}

// Tenths of a per cent as text: 877 is "87.7".
function percent(tenths) {
  return tenths === null || tenths === undefined ? "–" : (tenths / 10).toFixed(1);
}

// Half of an interval; both ends of one whose sides are not equally long.
function interval(half, ends) {
  return ends ? `[${percent(ends[0])}, ${percent(ends[1])}]` : `± ${percent(half)}`;
}

function plusMinus(mean, half, ends) {
  return half === null || half === undefined ? percent(mean) : `${percent(mean)} ${interval(half, ends)}`;
}
