"use strict";
(function () {
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")];
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const sources = new Map(plots.map((plot) => [plot, read(plot.id + "-data")]));

  // The words "@ink", "@muted", "@paper" and "@grid" in a figure are colours of the theme.
  function lit(value, colours) {
    if (typeof value === "string") return value[0] === "@" ? colours[value.slice(1)] || value : value;
    if (Array.isArray(value)) return value.map((inner) => lit(inner, colours));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, lit(inner, colours)]));
  }

  function draw(width) {
    const style = getComputedStyle(root);
    const colours = {};
    for (const name of ["ink", "muted", "paper", "grid"]) colours[name] = style.getPropertyValue("--" + name).trim();
    const bar = window.matchMedia("(hover: hover)").matches ? "hover" : false;
    const config = {
      responsive: true, displaylogo: false, displayModeBar: bar,
      modeBarButtons: [["zoom2d", "resetScale2d", "toImage"]],
    };
    for (const [plot, source] of sources) {
      const layout = lit(source.layout, colours);
      if (width) { layout.width = width; layout.autosize = false; }
      Plotly.react(plot, lit(source.data, colours), layout, config);
    }
  }

  const themes = ["auto", "light", "dark"];
  const toggle = document.getElementById("theme");
  let theme = "auto";
  function setTheme(next) {
    theme = next;
    if (theme === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", theme);
    toggle.textContent = "Theme: " + theme;
    draw();
  }
  toggle.addEventListener("click", () => setTheme(themes[(themes.indexOf(theme) + 1) % themes.length]));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());

  // On paper everything is light, and as wide as the paper.
  let before = "auto";
  window.addEventListener("beforeprint", () => { before = theme; root.setAttribute("data-theme", "light"); draw(700); });
  window.addEventListener("afterprint", () => setTheme(before));

  const table = document.getElementById("trials");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const value = (row, column) => {
      const cell = row.cells[column];
      const number = cell.dataset.value;
      return number === undefined ? cell.textContent.trim().toLowerCase() : number === "" ? null : Number(number);
    };
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        rows.sort((first, second) => {
          const a = value(first, column), b = value(second, column);
          if (a === null || b === null) return (a === null) - (b === null);  // what is missing stands last either way
          return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
        });
        body.append(...rows);
      });
    });

    const words = document.getElementById("words");
    const choices = [...document.querySelectorAll("select[data-column]")];
    const count = document.getElementById("count");
    function filter() {
      const wanted = words.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const fits = choices.every((choice) => !choice.value
          || row.cells[Number(choice.dataset.column)].textContent.trim() === choice.value);
        row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = shown + " of " + rows.length + " trials";
    }
    words.addEventListener("input", filter);
    choices.forEach((choice) => choice.addEventListener("change", filter));
    filter();
  }

  draw();
  root.dataset.drawn = String(plots.length);
})();
