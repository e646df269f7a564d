// Tables of class "sortable": a click on a column's name sorts by it, a second click the other way round.
// Numbers sort by value, whatever has none stands last; text sorts as text.
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  const text = (row, at) => row.cells[at].textContent;
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "sort";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const up = before === "descending" || (at === 0 && before === null);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = Array.from(table.tBodies[0].rows);
      rows.sort((a, b) => compared(parseFloat(text(a, at)), parseFloat(text(b, at)), up) ||
        (Number.isNaN(parseFloat(text(a, at))) ? (up ? 1 : -1) * text(a, at).localeCompare(text(b, at)) : 0));
      table.tBodies[0].append(...rows);
    });
  });
});

// The order of two numbers; NaN last in both directions.
function compared(x, y, up) {
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return up ? x - y : y - x;
}
