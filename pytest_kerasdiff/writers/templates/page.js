"use strict";
(() => {
  const said = document.getElementById("said");

  // A link to a layer opens it: browsers open what surrounds a target, not the target itself.
  function show(hash) {
    const target = hash.length > 1 && document.getElementById(hash.slice(1));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.localName === "details") one.open = true;
    if (target.localName !== "details") return;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
  addEventListener("hashchange", () => show(location.hash));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // The hash changes before this runs again; a link to where the page already is changes nothing.
    if (link && link.getAttribute("href") === location.hash) show(location.hash);
  });
  // Not before: while it loads, the browser goes to the target itself and takes the focus away.
  addEventListener("load", () => show(location.hash));

  // Buttons that only work with a script are made by it.
  for (const box of document.querySelectorAll(".code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const source = box.querySelector("pre");
      let done = "Copied";
      try {
        await navigator.clipboard.writeText(source.textContent);
      } catch {
        getSelection().selectAllChildren(source);
        done = "Selected";
      }
      button.textContent = said.textContent = done;
      setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
    });
    box.append(button);
  }

  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];

  const number = (text) => (text === "∞" ? Infinity : text === "–" ? NaN : Number(text));
  function compare(a, b) {
    const [x, y] = [number(a), number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x === y ? 0 : x < y ? -1 : 1;
    // Numbers stand before texts, and what is not there stands last.
    return (a === "–") - (b === "–") || Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b);
  }
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [row.cells[column].textContent.trim(), row]);
      keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
      body.append(...keyed.map(([, row]) => row));
    });
  });

  const form = document.getElementById("filter");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  function filter() {
    const words = form.words.value.toLowerCase().trim();
    const status = form.status.value;
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !(texts[i].includes(words) && (!status || row.dataset.status === status));
      shown += !row.hidden;
    });
    form.shown.value = `${shown} of ${rows.length} layers`;
  }
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
})();
