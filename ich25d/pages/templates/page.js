"use strict";
// Light or dark: the system's choice, until the reader makes one.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => { button.textContent = isDark() ? "Light page" : "Dark page"; };
  try { const kept = localStorage.getItem("ich25d-theme"); if (kept) root.dataset.theme = kept; } catch { /* no storage */ }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("ich25d-theme", root.dataset.theme); } catch { /* no storage */ }
    show();
    document.dispatchEvent(new Event("themechange"));
  });
  system.addEventListener("change", show);
  button.hidden = false;
  show();
})();
// Tables that sort by their headings.
(() => {
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.textContent.trim().toLowerCase();
  };
  const compare = (a, b) => {
    const empty = (v) => v === "" || v === "\u2013" || Number.isNaN(v);
    if (empty(a.v) || empty(b.v)) return empty(a.v) - empty(b.v) || a.i - b.i;   // dashes last, both ways
    const order = typeof a.v === "number" && typeof b.v === "number" ? a.v - b.v : String(a.v).localeCompare(String(b.v));
    return a.sign * order || a.i - b.i;
  };
  // Rows that name the same group stay together, where the first of them belongs.
  const grouped = (rows) => {
    const groups = new Map();
    for (const row of rows) {
      const group = row.dataset.g ?? row;
      if (groups.has(group)) groups.get(group).push(row); else groups.set(group, [row]);
    }
    return Array.from(groups.values()).flat();
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const th of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => {
        const sign = th.getAttribute("aria-sort") === (th.classList.contains("n") ? "descending" : "ascending")
          ? (th.classList.contains("n") ? 1 : -1) : (th.classList.contains("n") ? -1 : 1);
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const body = table.tBodies[0];
        const keyed = Array.from(body.rows, (row, i) => ({ row, i, sign, v: valueOf(row, th.cellIndex) }));
        keyed.sort(compare);
        body.append(...grouped(keyed.map((entry) => entry.row)));
        table.dispatchEvent(new Event("sorted"));
      });
    }
  }
})();
// On paper everything is open.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open]):not(.data)")) { details.open = true; details.dataset.shut = ""; }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-shut]")) { details.open = false; delete details.dataset.shut; }
});
