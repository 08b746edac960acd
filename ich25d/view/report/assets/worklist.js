"use strict";
// Filters of the worklist; sorting is every table's own. Rows are shown a hundred at a time, as the reader comes to
// them: laying out thousands at once would make the page stutter.
(() => {
  const STEP = 100;
  const form = document.getElementById("filters"), count = document.getElementById("count");
  const more = document.getElementById("more"), table = document.getElementById("worklist");
  const field = (id) => document.getElementById(id);
  const facts = new Map(Array.from(table.tBodies[0].rows, (row) => [row, {
    state: row.dataset.s, labels: row.dataset.l.split(" "), codes: row.dataset.c.split(" "), text: row.dataset.q,
  }]));
  let limit = STEP;
  const apply = () => {
    const state = field("state").value, label = field("label").value, remark = field("remark").value;
    const words = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    for (const row of table.tBodies[0].rows) {
      const fact = facts.get(row);
      const fits = (!state || fact.state === state) && (!label || fact.labels.includes(label))
        && (!remark || (remark === "-" ? fact.codes[0] === "" : fact.codes.includes(remark)))
        && words.every((word) => fact.text.includes(word));
      fitting += fits;
      const hide = !fits || fitting > limit;
      if (row.hidden !== hide) row.hidden = hide;
    }
    count.textContent = `${fitting} of ${facts.size} series`;
    more.hidden = fitting <= limit;
  };
  const afresh = () => { limit = STEP; apply(); };
  const grow = () => { limit += STEP; apply(); };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", afresh);
  form.addEventListener("reset", () => requestAnimationFrame(afresh));
  table.addEventListener("sorted", afresh);
  more.addEventListener("click", grow);
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) grow(); }, { rootMargin: "600px" }).observe(more);
  addEventListener("beforeprint", () => { limit = Infinity; apply(); });
  apply();
})();
