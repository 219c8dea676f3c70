"use strict";
// Tables sort by a click, or Enter, on a column's head; empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell === undefined ? "" : cell.dataset.value ?? cell.textContent.trim();
    if (text === "" || text === "–") return null;
    return Number.isNaN(Number(text)) ? text : Number(text);
  };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === null || y === null) return (x === null) - (y === null);
        const numbers = typeof x === "number" && typeof y === "number";
        const order = numbers ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
// A chart's point tells its numbers when it is pointed at, or reached by Tab and the arrows.
const told = document.getElementById("told");
const hide = () => { told.hidden = true; };
const middle = (point) => {
  const box = point.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};
const tell = (point) => {
  const [x, y] = middle(point);
  told.textContent = point.dataset.told;
  told.hidden = false;
  told.style.left = `${Math.max(6, Math.min(x + 10, document.documentElement.clientWidth - told.offsetWidth - 6))}px`;
  told.style.top = `${y - told.offsetHeight - 10 < 6 ? y + 14 : y - told.offsetHeight - 10}px`;
};
const REACH = 16;
for (const chart of document.querySelectorAll("svg.chart")) {
  const points = [...chart.querySelectorAll(".point")];
  const under = (event) => {
    const far = points.map((point) => {
      const [x, y] = middle(point);
      return Math.hypot(x - event.clientX, y - event.clientY);
    });
    const least = Math.min(...far);
    return least <= REACH ? points[far.indexOf(least)] : null;
  };
  const seek = (event) => {
    const point = under(event);
    if (point) tell(point); else hide();
  };
  chart.addEventListener("pointermove", seek);
  chart.addEventListener("pointerdown", seek);
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  const go = (from, line, at) => {
    const to = points.find((point) => Number(point.dataset.line) === line && Number(point.dataset.at) === at);
    if (!to) return false;
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    return true;
  };
  for (const point of points) {
    point.addEventListener("focus", () => tell(point));
    point.addEventListener("blur", hide);
    point.addEventListener("keydown", (event) => {
      const [line, at] = [Number(point.dataset.line), Number(point.dataset.at)];
      const steps = { ArrowRight: [line, at + 1], ArrowLeft: [line, at - 1], ArrowDown: [line + 1, at], ArrowUp: [line - 1, at] };
      if (event.key in steps) {
        event.preventDefault();
        go(point, ...steps[event.key]);
      }
    });
  }
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
document.addEventListener("scroll", () => {
  const point = document.activeElement;
  if (!told.hidden && point.matches(".point")) tell(point); else hide();
}, { passive: true });
// What is folded up is opened for the printer, and folded up again.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((part) => { part.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
