"""The style and the script of the HTML report; both are written into the page itself."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2a7; --ink: #36c; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--ink); }
td.best { color: var(--good); font-weight: 700; }
tr.baseline td:first-child { font-style: italic; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem; }
.plots figure, .exhibit figure, .panels figure { margin: 0; }
figcaption { font-size: .85rem; opacity: .85; }
.plot { width: 100%; height: auto; }
.plot text { font: 12px system-ui, sans-serif; fill: currentColor; }
.plot .tick { font-size: 10px; opacity: .7; }
.plot .grid { stroke: var(--line); }
.plot .mark line { stroke: currentColor; stroke-width: 2; opacity: .6; }
.plot .mark circle { fill: currentColor; }
.plot .chosen { color: var(--ink); font-weight: 700; }
figure.chart { margin: 1rem 0; } .chart img { max-width: 100%; background: #fff; }
details { margin: .3rem 0; } summary { cursor: pointer; }
.exhibit { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: .8rem;
  margin-top: 1rem; }
.exhibit[hidden] { display: none; }
.exhibit img { width: 100%; display: block; }
.controls { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; margin: .6rem 0; }
.panels { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; }
@media (max-width: 800px) { .panels { grid-template-columns: 1fr; } }
.pair { position: relative; isolation: isolate; }
.pair img { width: 100%; display: block; }
.pair img + img { position: absolute; inset: 0; height: 100%; }
#compare img + img { clip-path: inset(0 0 0 var(--cut, 50%)); }
#compare::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut, 50%);
  border-left: 2px solid #fd0; }
#difference { filter: brightness(4); } #difference img + img { mix-blend-mode: difference; }
#cut { width: 100%; }
"""

SCRIPT = """
"use strict";
(() => {
  const all = (query, from = document) => Array.from(from.querySelectorAll(query));
  const one = (query) => document.querySelector(query);

  for (const table of all("table.sortable")) {
    all("th button", table).forEach((button, column) => {
      let ascending = button.dataset.direction === "lower";
      button.addEventListener("click", () => {
        const rows = all("tbody tr", table);
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const sign = ascending ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const [p, q] = [parseFloat(x), parseFloat(y)];
          if (column === 0) return sign * x.localeCompare(y);
          if (isNaN(p) || isNaN(q)) return isNaN(p) - isNaN(q);
          return sign * (p - q);
        });
        rows.forEach((row) => table.tBodies[0].append(row));
        ascending = !ascending;
      });
    });
  }

  const scene = one("#scene");
  if (!scene) return;
  const sides = [one("#left"), one("#right")];
  const cut = one("#cut");

  const show = () => {
    const exhibits = all(".exhibit");
    exhibits.forEach((exhibit, index) => { exhibit.hidden = index !== scene.selectedIndex; });
    const figures = all("figure", exhibits[scene.selectedIndex]);
    sides.forEach((side, index) => {
      const source = figures[side.selectedIndex].querySelector("img");
      for (const pair of ["#compare", "#difference"]) {
        const image = all("img", one(pair))[index];
        image.src = source.src;
        image.alt = source.alt;
      }
    });
  };
  const move = () => { one("#compare").style.setProperty("--cut", cut.value + "%"); };

  [scene, ...sides].forEach((control) => control.addEventListener("change", show));
  cut.addEventListener("input", move);
  show();
  move();
})();
"""
