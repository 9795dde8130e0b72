// The numbers under the pointer. They stand in the table of each chart, too.
for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg"), tip = document.createElement("output");
  const names = [...figure.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...figure.querySelectorAll("tbody tr")];
  const places = rows.map((row) => Number(row.firstElementChild.dataset.x));
  const { left, right, low, high } = svg.dataset;
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  svg.after(tip);
  const hide = () => { tip.hidden = true; };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointercancel", hide);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width - left) / (right - left);
    const x = Number(low) + across * (high - low);
    let nearest = 0;
    places.forEach((place, at) => {
      if (Math.abs(place - x) < Math.abs(places[nearest] - x)) nearest = at;
    });
    const cells = [...rows[nearest].children].map((cell) => cell.textContent);
    const lines = names.slice(1).map((name, at) => cells[at + 1] && `${name} ${cells[at + 1]}`);
    tip.textContent = [`${names[0]} ${cells[0]}`, ...lines.filter(Boolean)].join("\n");
    tip.classList.toggle("before", across > 0.5);
    tip.hidden = false;
  });
}
