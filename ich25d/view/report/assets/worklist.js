"use strict";
// Filters of the worklist; sorting is every table's own.
(() => {
  const form = document.getElementById("filters"), count = document.getElementById("count");
  const field = (id) => document.getElementById(id);
  const rows = Array.from(document.getElementById("worklist").tBodies[0].rows, (row) => ({
    row, state: row.dataset.s, labels: row.dataset.l.split(" "), codes: row.dataset.c.split(" "), text: row.dataset.q,
  }));
  const apply = () => {
    const state = field("state").value, label = field("label").value, remark = field("remark").value;
    const words = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of rows) {
      const fits = (!state || entry.state === state) && (!label || entry.labels.includes(label))
        && (!remark || (remark === "-" ? entry.codes[0] === "" : entry.codes.includes(remark)))
        && words.every((word) => entry.text.includes(word));
      if (entry.row.hidden === fits) entry.row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} series`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => requestAnimationFrame(apply));
  apply();
})();
