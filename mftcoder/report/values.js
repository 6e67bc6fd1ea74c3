// Shows, under the pointer, the step that is nearest and the value of each line there.
for (const svg of document.querySelectorAll("svg[data-series]")) {
  const series = JSON.parse(svg.dataset.series);
  const [low, high, left, right, top, bottom] = JSON.parse(svg.dataset.frame);
  const steps = [...new Set(series.flatMap(line => line.points.map(point => point[0])))];
  const box = svg.parentElement.appendChild(Object.assign(document.createElement("div"), {className: "values", hidden: true}));
  const here = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
  here.setAttribute("class", "here");
  here.setAttribute("visibility", "hidden");
  here.setAttribute("y1", top);
  here.setAttribute("y2", bottom);
  const row = (line, step) => {
    const point = line.points.find(point => point[0] === step);
    if (!point) return [];
    const entry = document.createElement("div");
    const name = entry.appendChild(document.createElement("b"));
    name.style.setProperty("--c", `var(--c${line.colour % 10})`);
    name.textContent = `${line.name} `;
    entry.append(Number(point[1].toPrecision(5)));
    return [entry];
  };
  svg.addEventListener("pointermove", event => {
    const size = svg.getBoundingClientRect();
    const across = (event.clientX - size.left) / size.width * svg.viewBox.baseVal.width;
    const wanted = low + (across - left) / (right - left) * (high - low);
    const step = steps.reduce((best, next) => Math.abs(next - wanted) < Math.abs(best - wanted) ? next : best);
    const place = left + (step - low) / (high - low) * (right - left);
    here.setAttribute("x1", place);
    here.setAttribute("x2", place);
    here.setAttribute("visibility", "visible");
    box.replaceChildren(`step ${Math.round(step)}`, ...series.flatMap(line => row(line, step)));
    box.hidden = false;
    const figure = svg.parentElement.getBoundingClientRect();
    const pixels = size.left - figure.left + place / svg.viewBox.baseVal.width * size.width;
    const rightHalf = pixels > figure.width / 2;
    box.style.top = "2.4rem";
    box.style.left = rightHalf ? "" : `${pixels + 10}px`;
    box.style.right = rightHalf ? `${figure.width - pixels + 10}px` : "";
  });
  svg.addEventListener("pointerleave", () => {
    box.hidden = true;
    here.setAttribute("visibility", "hidden");
  });
}
