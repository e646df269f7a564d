// What can be chosen, as a form; and which columns are left by the choice.

function buildChoice(form, changed) {
  const metrics = DATA.metrics.filter((metric) => DATA.shown.some((part) => page().metrics[metric.name + part.name]));
  const fields = [
    DATA.pages.length > 1 ? field("page", "grid part", DATA.pages.map(({ name }) => [name, name])) : null,
    field("metric", "metric", metrics.map(({ name, label }) => [name, label])),
    field("show", "shown", DATA.shown.map(({ name, label }) => [name, label])),
    ...page().facets.filter((facet) => facet.values.length > 1).map((facet) => {
      const worst = facet.name === "attack" && page().kinds.includes("worst") ? [["worst", "worst attack of each rule"]] : [];
      return field(facet.name, facet.label, [["", `all (${facet.values.length})`], ...worst, ...facet.values.map((v) => [v, v])]);
    }),
    field("layout", "layout", [["", "automatic"], ["across", "rules down"], ["down", "rules across"]]),
    element("label", {}, "find rules", element("input", { type: "search", name: "find", value: state.find, placeholder: "like krum", autocomplete: "off" })),
    element("button", { type: "button", id: "reset" }, "Reset"),
  ];
  form.replaceChildren(...fields.filter(Boolean));
  form.onsubmit = (event) => event.preventDefault();
  form.oninput = (event) => {
    state[event.target.name] = event.target.value;
    if (event.target.name === "page") for (const facet of page().facets) state[facet.name] = "";
    state.sort = event.target.name === "find" ? state.sort : "";
    changed(event.target.name === "page" || event.target.name === "metric");
  };
  form.querySelector("#reset").onclick = () => {
    history.replaceState(null, "", "#" + (state.theme ? `theme=${state.theme}` : ""));
    readAddress();
    changed(true);
    form.elements.metric.focus();
  };
}

function field(name, label, options) {
  const chosen = options.some(([value]) => value === state[name]) ? state[name] : options[0][0];
  const items = options.map(([value, text]) => element("option", { value, selected: value === chosen }, text));
  return element("label", {}, label, element("select", { name }, ...items));
}

// The places of the columns that the choice leaves. An attack without a number of the metric (no fixed class map) is
// left out.
function chosenColumns(metric, numbers) {
  const { kinds, facets, rules } = page(), attacks = facets[0].of;
  const some = new Set(attacks.filter((_, i) => numbers.mean.slice(i * rules.length, (i + 1) * rules.length).some((m) => m !== null)));
  return kinds.map((_, i) => i).filter((i) => {
    if (metric.mapped && attacks[i] !== -1 && !some.has(attacks[i])) return false;
    const kind = kinds[i];
    if (kind === "clean" && (metric.mapped || metric.name.endsWith("_damage"))) return false;
    if (kind === "clean_of" && (!metric.mapped || state.show)) return false;
    if (kind === "worst" && (metric.mapped || (state.attack && state.attack !== "worst") || state.target)) return false;
    return facets.every((facet) => {
      const wanted = state[facet.name], value = facet.of[i];
      if (!wanted) return true;
      if (facet.name === "attack" && wanted === "worst") return kind === "clean" || kind === "worst";
      if (value === -1) return true; // a clean column has no fields of the attack
      return facet.values[value] === wanted;
    });
  });
}

// The fields that tell the chosen columns apart, the attack first; and what is the same in all of them, as text.
function heads(columns) {
  const { facets, kinds } = page();
  const values = (facet) => new Set(columns.filter((i) => facet.of[i] !== -1 && kinds[i] !== "clean").map((i) => facet.of[i]));
  const levels = facets.filter((facet) => facet.name !== "attack" && facet.name !== "target" && values(facet).size > 1);
  const fixed = facets.filter((facet) => facet.values.length > 1 && values(facet).size === 1 && facet.name !== "target");
  return {
    levels,
    fixed: fixed.map((facet) => `${facet.label} ${facet.values[[...values(facet)][0]]}`),
    // One text a line of the head: the attack, then each level.
    of: (i) => {
      const attack = facets[0].of[i] === -1 ? "" : facets[0].values[facets[0].of[i]];
      const first = { clean: "clean", worst: "worst attack" }[kinds[i]] || attack;
      const rest = levels.map((facet) => (facet.of[i] === -1 ? "" : facet.values[facet.of[i]]));
      if (kinds[i] !== "clean_of") return [first, ...rest];
      return rest.length ? [first, ...rest.slice(0, -1), "clean"] : [`${first}, clean`];
    },
  };
}
