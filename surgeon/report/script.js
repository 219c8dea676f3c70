"use strict";
// Tables sort by a click, or Enter, on a column's head.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        const text = cell.dataset.value ?? cell.textContent.trim();
        return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
      };
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
// A chart's point tells its numbers when it is pointed at or reached by keyboard.
const told = document.getElementById("told");
const tell = (point) => {
  const box = point.getBoundingClientRect();
  told.textContent = point.dataset.told;
  told.hidden = false;
  const left = Math.min(box.right + 6, document.documentElement.clientWidth - told.offsetWidth - 6);
  told.style.left = `${Math.max(6, left)}px`;
  told.style.top = `${Math.max(6, box.top - told.offsetHeight - 6)}px`;
};
for (const point of document.querySelectorAll(".point")) {
  point.addEventListener("pointerenter", () => tell(point));
  point.addEventListener("focus", () => tell(point));
  for (const end of ["pointerleave", "blur"]) point.addEventListener(end, () => { told.hidden = true; });
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") told.hidden = true; });
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
