"use strict";
// Values under the pointer, choosing runs and members, and dark or light; no library.

const tips = JSON.parse(document.getElementById("tips").textContent);
const tip = document.getElementById("tip");
const REACH = 26; // CSS pixels from the pointer within which a mark is near
const SAME = 0.02; // pixels between marks that lie on each other
const TOLD = 4; // marks that are told at once

// The points of a line are <use> elements; the areas of a collection are paths.
function marksOf(group) {
  const uses = group.querySelectorAll("use");
  if (uses.length) return [...uses];
  return [...group.querySelectorAll("path")].filter((path) => !path.closest("defs"));
}

function distance(box, x, y) {
  const aside = Math.max(box.left - x, 0, x - box.right);
  const above = Math.max(box.top - y, 0, y - box.bottom);
  const inside = aside === 0 && above === 0;
  // Of areas that hold the pointer, any will do; of points, the one whose middle is closest.
  const middle = Math.hypot((box.left + box.right) / 2 - x, (box.top + box.bottom) / 2 - y);
  return inside ? Math.min(middle, 8) * 0.01 : Math.hypot(aside, above);
}

// The marks that are nearest to the pointer: several where they lie on each other.
function nearest(plot, x, y) {
  let least = REACH;
  const near = [];
  for (const group of plot.querySelectorAll("g[id]")) {
    const texts = tips[group.id];
    if (!texts || group.closest("[hidden]")) continue;
    marksOf(group).forEach((mark, place) => {
      if (texts[place] === undefined) return;
      const away = distance(mark.getBoundingClientRect(), x, y);
      if (away > least + SAME) return;
      least = Math.min(least, away);
      near.push({ away, mark, text: texts[place] });
    });
  }
  return near.filter((each) => each.away <= least + SAME);
}

function forget() {
  document.querySelectorAll(".near").forEach((mark) => mark.classList.remove("near"));
  tip.hidden = true;
}

function show(event) {
  const found = nearest(event.currentTarget, event.clientX, event.clientY);
  forget();
  if (!found.length) return;
  found.forEach((each) => each.mark.classList.add("near"));
  const texts = [...new Set(found.map((each) => each.text))];
  if (texts.length > TOLD) texts.splice(TOLD, Infinity, `and ${texts.length - TOLD} more here`);
  tip.textContent = texts.join("\n\n");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, window.innerWidth - box.width - 6);
  const below = event.clientY + 16 + box.height < window.innerHeight;
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${below ? event.clientY + 16 : Math.max(6, event.clientY - box.height - 12)}px`;
}

for (const plot of document.querySelectorAll("svg.plot")) {
  let waiting = false;
  const soon = (event) => {
    if (waiting) return;
    waiting = true;
    const { clientX, clientY } = event;
    requestAnimationFrame(() => {
      waiting = false;
      show({ currentTarget: plot, clientX, clientY });
    });
  };
  plot.addEventListener("pointermove", soon);
  plot.addEventListener("pointerdown", soon);
  plot.addEventListener("pointerleave", () => requestAnimationFrame(forget));
}
window.addEventListener("scroll", forget, { passive: true });

for (const box of document.querySelectorAll("#runs input")) {
  const apply = () => {
    for (const each of document.querySelectorAll(`[data-run="${box.value}"]`)) {
      each.toggleAttribute("hidden", !box.checked);
    }
  };
  box.addEventListener("change", apply);
  apply(); // A browser may restore boxes that were unchecked before a reload.
}

for (const list of document.querySelectorAll("[data-members]")) {
  const apply = () => {
    for (const each of document.querySelectorAll(`[data-member^="${list.dataset.members}-"]`)) {
      each.hidden = each.dataset.member !== `${list.dataset.members}-${list.value}`;
    }
  };
  list.addEventListener("change", apply);
  apply();
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
