// A sparkline: an SVG's one area and one line, the newest value at the right, and a scale in milliseconds.

const WIDTH = 320;
const HEIGHT = 88;
const PAD = 8;
const LINES = 2; // parts of the scale

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The top of the scale: 1, 2 or 5 times a power of ten, with all values below it.
function ceiling(values) {
  const highest = Math.max(0.1, ...values);
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= highest) ?? highest;
}

// A label of the scale. Two digits are enough, as its values are round.
const label = (value) => `${Number(value.toPrecision(2))} ms`;

// Draw `values` into `svg`, with space for `kept` of them, and label the lines in `scale`.
export function draw(svg, scale, values, kept) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const top = ceiling(values);
  const x = (i) => WIDTH - PAD - ((values.length - 1 - i) * (WIDTH - 2 * PAD)) / (kept - 1);
  const y = (value) => HEIGHT - PAD - (value / top) * (HEIGHT - 2 * PAD);
  const marks = Array.from({ length: LINES + 1 }, (_, i) => (top * i) / LINES);
  svg.replaceChildren(...marks.map((mark) => shape("path", { class: "grid", d: `M0 ${y(mark)}H${WIDTH}` })));
  scale.replaceChildren(...(values.length ? marks : []).map((mark) => {
    const item = document.createElement("li");
    item.textContent = label(mark);
    item.style.top = `${(y(mark) / HEIGHT) * 100}%`;
    return item;
  }));
  if (values.length === 0) return;
  const line = values.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  const right = x(values.length - 1);
  svg.append(
    shape("path", { class: "area", d: `M${x(0).toFixed(1)} ${y(0)}L${line}L${right} ${y(0)}Z` }),
    shape("path", { class: "line", d: `M${line}` }),
    shape("path", { class: "dot", d: `M${right} ${y(values.at(-1)).toFixed(1)}h0.01` }),
  );
}
