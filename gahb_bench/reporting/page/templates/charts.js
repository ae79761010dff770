// The curves: one object a family draws its three charts from the data, again whenever something changes.
const decades = (values) => values.map((value) => Math.log10(value));
const decibel = (value) => (value === null || value <= 0 ? null : 10 * Math.log10(value));

const METRICS = {
  mse: { title: "Mean squared error", axis: "MSE per pixel", log: true, columns: ["mse", "mse_low", "mse_high"], of: (v) => v },
  psnr: { title: "PSNR", axis: "PSNR, dB", log: false, columns: ["mse", "mse_high", "mse_low"], of: (v) => (v === null ? null : -decibel(v)) },
  regret: { title: "Regret", axis: "regret, dB", log: false, columns: ["regret_db", "regret_db_low", "regret_db_high"], of: (v) => v },
};
const FAR = 15; // dB; a method that gets further than this from the optimum does not set the scale for the others
const CLOSE = 0.3; // dB; nor does one that is this close to it
const DEEPEST = 1e-9; // of the largest error shown: less is called nothing
const STEEPEST = [-1, 5]; // local exponents beyond are of vanishing optima: they would flatten the others
const RATIOS = { "×½": 0.5, "×1": 1, "×2": 2, "×4": 4, "×10": 10, "×100": 100, "×1000": 1000 };
const TOUCH = window.matchMedia("(pointer: coarse)").matches;
const ALL = `${TOUCH ? "tap twice" : "double-click"} for all`;
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset+autosize" };

function significant(value, digits = 3) {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e4) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
}

function faint(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// A band between two curves: one outline for each stretch without a gap.
function band(x, low, high, fill, name = "", edge = 0) {
  const outline = { x: [], y: [] };
  const close = (stretch) => {
    if (stretch.length < 2) return;
    const back = [...stretch].reverse();
    outline.x.push(...stretch.map((i) => x[i]), ...back.map((i) => x[i]), null);
    outline.y.push(...stretch.map((i) => low[i]), ...back.map((i) => high[i]), null);
  };
  let stretch = [];
  x.forEach((_, i) => {
    if (low[i] !== null && high[i] !== null) stretch.push(i);
    else { close(stretch); stretch = []; }
  });
  close(stretch);
  return { ...outline, fill: "toself", fillcolor: fill, line: { width: edge, color: fill }, mode: "lines", name, hoverinfo: "skip" };
}

// On paper a chart is as wide as its place there; on a screen it follows the window.
function onPaper(div) {
  return div && document.documentElement.classList.contains("printing") ? { width: div.clientWidth, height: div.clientHeight } : { autosize: true };
}

class FamilyCharts {
  constructor(section) {
    this.section = section;
    this.data = page.families[Number(section.dataset.family)];
    this.hidden = new Set();
    this.metric = "mse";
    this.charts = Object.fromEntries([...section.querySelectorAll("[data-chart]")].map((div) => [div.dataset.chart, div]));
    for (const input of section.querySelectorAll(`input[name="${this.data.anchor}-metric"]`)) {
      input.addEventListener("change", () => { this.metric = input.value; this.draw("main"); });
      if (input.checked) this.metric = input.value;
    }
    for (const button of section.querySelectorAll(".legend button")) {
      if (button.getAttribute("aria-pressed") === "false") this.hidden.add(button.dataset.curve);
      button.addEventListener("click", () => this.toggle(button));
    }
  }

  toggle(button) {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    if (shown) this.hidden.add(button.dataset.curve);
    else this.hidden.delete(button.dataset.curve);
    this.draw();
  }

  get methods() {
    return this.data.methods.filter((_, index) => !this.hidden.has(`method-${index}`));
  }

  draw(only) {
    for (const [name, div] of Object.entries(this.charts)) {
      if (only && name !== only) continue;
      const [traces, axis] = name === "exponent" ? this.exponents() : this.curves(name === "main" ? this.metric : name);
      Plotly.react(div, traces, this.layout(axis, div), CONFIG);
      this.listen(div);
      const cut = this.section.querySelector(`[data-cut="${name}"]`);
      if (cut) cut.textContent = axis.cut || "";
    }
    if (this.charts.main && (!only || only === "main")) {
      const title = METRICS[this.metric].title;
      this.section.querySelector('[data-title="main"]').textContent = title;
      this.charts.main.setAttribute("aria-label", `${title} of each method on ${this.data.label} against the noise level; the numbers are in the tables below`);
    }
  }

  // A point of a curve chooses its noise level (and its method) for the pictures and images below.
  listen(div) {
    if (div.dataset.listens) return;
    div.dataset.listens = "yes";
    div.on("plotly_click", ({ points }) => {
      const point = points.find(({ data }) => data.meta !== undefined) ?? points[0];
      selections.get(this.section)?.select(point.x, point.data.meta);
    });
  }

  // A thin line at the chosen noise level, in every chart that is drawn.
  mark(level) {
    this.level = level;
    for (const div of Object.values(this.charts)) if (div.dataset.listens) Plotly.relayout(div, { shapes: this.shapes() });
  }

  shapes() {
    if (this.level === undefined) return [];
    const x = this.data.sigmas[this.level];
    return [{ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", layer: "between", line: { color: colour("accent"), width: 1.5, dash: "4px,3px" } }];
  }

  // The main chart as a picture with its legend, light, for a document.
  async picture() {
    const [traces, axis] = this.curves(this.metric);
    const layout = this.layout(axis);
    const data = traces.map((trace) => ({ ...trace, showlegend: Boolean(trace.name) }));
    return Plotly.toImage({ data, layout: {
      ...layout, shapes: [], paper_bgcolor: colour("paper"), plot_bgcolor: colour("paper"), showlegend: true,
      title: { text: `${METRICS[this.metric].title} on ${plain(shorten(this.data.label, 80))}`, font: { size: 15 } }, margin: { l: 70, r: 20, t: 50, b: 55 },
    } }, { format: "png", width: 1100, height: 620, scale: 2 });
  }

  curves(name) {
    const metric = METRICS[name];
    const traces = this.theory(name);
    for (const method of this.methods) {
      const [value, low, high] = metric.columns.map((column) => method[column].map(metric.of));
      traces.push(band(method.sigma, low, high, faint(this.hue(method), 0.18)));
      traces.push(this.line(method, value, method.sigma.map((_, i) => this.words(method, i))));
    }
    return [traces, this.range(name, metric)];
  }

  exponents() {
    const traces = [];
    const { reference } = this.data;
    const { sigmas } = this.data;
    if (!this.hidden.has("reference") && reference.exponent.some((value) => value !== null)) {
      traces.push({ x: reference.sigma, y: reference.exponent, mode: "lines", line: { color: colour("ink"), width: 3 }, text: reference.exponent.map((v) => `exponent of the ${plain(reference.name)}<br>${significant(v)}`), hovertemplate: "%{text}<extra></extra>" });
    }
    if (!this.hidden.has("asymptotic") && reference.asymptotic !== null) {
      traces.push({ x: [sigmas[0], sigmas[sigmas.length - 1]], y: [reference.asymptotic, reference.asymptotic], mode: "lines", line: { color: colour("soft"), width: 2, dash: "6px,4px" }, hovertemplate: `asymptotic exponent ${significant(reference.asymptotic, 4)}<extra></extra>` });
    }
    for (const method of this.methods) {
      const text = method.exponent.map((v, i) => `<b>${plain(shorten(method.label, 60))}</b><br>σ = ${significant(method.sigma[i])}<br>local exponent ${significant(v)}`);
      traces.push(this.line(method, method.exponent, text));
    }
    const values = traces.flatMap((trace) => trace.y).filter((v) => v !== null && Number.isFinite(v));
    const [low, high] = [Math.max(Math.min(...values), STEEPEST[0]), Math.min(Math.max(...values), STEEPEST[1])];
    const axis = { title: "local exponent", log: false };
    if (!values.some((v) => v < low || v > high)) return [traces, axis];
    const margin = 0.06 * (high - low) || 0.5;
    return [traces, { ...axis, range: [low - margin, high + margin], cut: `Cut at ${STEEPEST.join(" and ")}; ${ALL}.` }];
  }

  // The reference as a line (dashed where it is only approximate), with its band where it has one.
  theory(name) {
    const { reference } = this.data;
    if (reference.kind === "none") return [];
    const traces = [];
    const of = name === "regret" ? (v, i) => (v === null || reference.mse[i] === null ? null : decibel(v / reference.mse[i])) : METRICS[name].of;
    const bracket = reference.kind === "bracket";
    if (!this.hidden.has("reference")) {
      if (reference.band) traces.push(band(reference.sigma, reference.low.map(of), reference.high.map(of), faint(colour("ink"), bracket ? 0.3 : 0.15), bracket ? plain(reference.name) : "", bracket ? 1.5 : 0)); // an edge: brackets can be narrow
      const line = { color: colour("ink"), width: bracket ? 0 : 3, dash: reference.kind === "approximate" ? "6px,4px" : "solid" };
      const single = reference.sigma.length > 1 ? {} : { mode: "markers", marker: { color: line.color, symbol: "line-ew-open", size: 22 } };
      const text = reference.mse.map((v, i) => `<b>${plain(reference.name)}</b><br>σ = ${significant(reference.sigma[i])}<br>MSE ${bracket ? `${significant(reference.low[i])} to ${significant(reference.high[i])}` : significant(v)}`);
      traces.push({ x: reference.sigma, y: reference.mse.map(of), mode: "lines", line, ...single, text, name: bracket ? "" : plain(reference.name), hovertemplate: "%{text}<extra></extra>" });
    }
    reference.curves.forEach((curve, index) => {
      if (this.hidden.has(`theory-${index}`)) return;
      traces.push({ x: reference.sigma, y: curve.mse.map(of), mode: "lines", line: { color: colour("soft"), width: 2, dash: curve.dash }, name: plain(shorten(curve.name, 40)), hovertemplate: `${plain(curve.name)}<extra></extra>` });
    });
    return traces;
  }

  line(method, y, text) {
    const hue = this.hue(method);
    return { x: method.sigma, y, text, meta: this.data.methods.indexOf(method), name: plain(shorten(method.label, 40)), mode: "lines+markers", line: { color: hue, width: 1.8, dash: method.dash }, marker: { symbol: method.marker, size: 7.5, color: hue }, connectgaps: false, hovertemplate: "%{text}<extra></extra>" };
  }

  hue(method) {
    return isDark() ? method.dark : method.light;
  }

  words(method, i) {
    const interval = (low, high) => (low === null || high === null || low === high ? "" : ` [${significant(low)}, ${significant(high)}]`);
    const lines = [`<b>${plain(shorten(method.label, 60))}</b>`, `σ = ${significant(method.sigma[i])} (255σ = ${significant(255 * method.sigma[i])})`];
    lines.push(`MSE ${significant(method.mse[i])}${interval(method.mse_low[i], method.mse_high[i])}`, `PSNR ${(-decibel(method.mse[i])).toFixed(2)} dB`);
    if (method.regret_db[i] !== null) lines.push(`regret ${method.regret_db[i].toFixed(2)} dB${interval(method.regret_db_low[i], method.regret_db_high[i])}`);
    return lines.join("<br>");
  }

  // The part of the axis that is shown: all of it, unless something far away would flatten everything else.
  range(name, metric) {
    const axis = { title: metric.axis, log: metric.log };
    const columns = name === "regret" ? metric.columns : ["mse"];
    const values = this.methods.flatMap((method) => columns.flatMap((column) => method[column])).filter((v) => v !== null);
    const theory = name === "regret" ? [0] : this.data.reference.mse.filter((v) => v !== null);
    const positive = [...values, ...theory].filter((v) => name === "regret" || v > 0);
    if (!values.length || !positive.length) return axis;
    let [low, high] = [Math.min(...positive), Math.max(...positive)];
    if (name === "regret") {
      const most = this.mostRegret(high);
      if (high > most) { high = most; axis.cut = `Cut at ${most.toFixed(1)} dB; ${ALL}.`; }
      const margin = 0.04 * (high - low) || 0.5;
      return { ...axis, range: [low - margin, high + margin], ratios: true };
    }
    const most = 10 * Math.max(...theory);
    if (theory.length && high > most) { high = most; axis.cut = `Cut at ten times the largest error of the reference; ${ALL}.`; }
    if (low < DEEPEST * high) low = DEEPEST * high;
    const ends = decades([low / 1.4, high * 1.4]);
    return { ...axis, range: metric.log ? ends : ends.map((v) => -10 * v).reverse() };
  }

  // The top of the regret axis: the far methods leave through it.
  mostRegret(highest) {
    const tops = this.methods.map((method) => Math.max(0, ...method.regret_db, ...method.regret_db_high));
    const far = tops.filter((top) => top > FAR), near = tops.filter((top) => top <= FAR && top > CLOSE);
    return far.length ? Math.max(3.5, near.length ? 1.3 * Math.max(...near) : 1.3 * Math.min(...far)) : highest;
  }

  // Beside the axis in dB, the ratio of errors that it means.
  ratios(axis, soft) {
    if (!axis.ratios) return [];
    const shown = Object.entries(RATIOS).map(([text, ratio]) => [text, decibel(ratio)]).filter(([, y]) => y >= axis.range[0] && y <= axis.range[1]);
    const close = 0.05 * (axis.range[1] - axis.range[0]);
    return shown.filter(([, y], i) => i === 0 || y - shown[i - 1][1] > close).map(([text, y]) => ({ text, y, x: 1, xref: "paper", xanchor: "left", xshift: 3, showarrow: false, font: { size: 11, color: soft } }));
  }

  layout(axis, div) {
    const [ink, soft, rule] = [colour("ink"), colour("soft"), colour("rule")];
    const ends = decades([this.data.sigmas[0], this.data.sigmas[this.data.sigmas.length - 1]]);
    const margin = 0.03 * (ends[1] - ends[0]) || 0.5;
    const shared = { color: soft, gridcolor: rule, zeroline: false, linecolor: rule, ticks: "outside", tickcolor: rule, automargin: false };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest", dragmode: TOUCH ? false : "zoom",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink }, margin: { l: 58, r: axis.ratios ? 34 : 10, t: 10, b: 46 }, annotations: this.ratios(axis, soft), shapes: this.shapes(),
      hoverlabel: { bgcolor: colour("panel"), bordercolor: rule, font: { color: ink }, align: "left" },
      xaxis: { ...shared, type: "log", title: { text: "noise level σ" }, range: [ends[0] - margin, ends[1] + margin], dtick: 1, tickformat: "~g", minor: { ticks: "outside", ticklen: 3, tickcolor: rule } },
      yaxis: { ...shared, type: axis.log ? "log" : "linear", title: { text: axis.title }, range: axis.range, autorange: !axis.range, ...(axis.log ? { dtick: 1, exponentformat: "power", tickfont: { size: 10 } } : { exponentformat: "none" }) },
      ...onPaper(div),
      uirevision: `${axis.title}`,
    };
  }
}

const families = [...document.querySelectorAll("section.family")].map((section) => new FamilyCharts(section));
