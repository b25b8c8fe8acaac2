// A sparkline: an SVG's one area and one line, the newest value at the right.

const WIDTH = 320;
const HEIGHT = 88;
const PAD = 6;

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The highest value shown: the highest there is, but one stray is cut off and not all others flattened.
function ceiling(values) {
  const median = [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
  return Math.max(0.2, Math.min(Math.max(...values), 3 * median)) * 1.1;
}

// Draw `values` into `svg`, with space for `kept` of them.
export function draw(svg, values, kept) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const top = ceiling(values);
  const x = (i) => WIDTH - PAD - ((values.length - 1 - i) * (WIDTH - 2 * PAD)) / (kept - 1);
  const y = (value) => HEIGHT - PAD - (Math.min(value, top) / top) * (HEIGHT - 2 * PAD);
  const grid = [0.25, 0.5, 0.75].map((part) =>
    shape("path", { class: "grid", d: `M0 ${HEIGHT * part}H${WIDTH}` }));
  svg.replaceChildren(...grid);
  if (values.length === 0) return;
  const line = values.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  const right = x(values.length - 1);
  svg.append(
    shape("path", { class: "area", d: `M${x(0).toFixed(1)} ${HEIGHT}L${line}L${right} ${HEIGHT}Z` }),
    shape("path", { class: "line", d: `M${line}` }),
    shape("path", { class: "dot", d: `M${right} ${y(values.at(-1)).toFixed(1)}h0.01` }),
  );
}
