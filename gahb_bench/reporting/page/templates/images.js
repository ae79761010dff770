// Each image of a family: how far it is from the optimum at the chosen noise level, and which lose most.
const MISSING = -32768;
const WORST = 3;

class FamilyImages {
  constructor(section, data) {
    [this.section, this.data] = [section, data];
    this.chart = section.querySelector("[data-strip]");
    this.choice = section.querySelector("select.method");
    this.body = section.querySelector(".worst tbody");
    this.views = new Map();
    this.choice.addEventListener("input", () => this.show());
  }

  // Decibels of every image at a noise level, null where there is no number.
  values(method, level) {
    if (!this.views.has(method)) this.views.set(method, new DataView(bytesOf(this.data.images.db[method]).buffer));
    const [view, count] = [this.views.get(method), this.data.images.count];
    return Array.from({ length: count }, (_, i) => view.getInt16(2 * (level * count + i), true)).map((v) => (v === MISSING ? null : v / 100));
  }

  choose(method) {
    if (![...this.choice.options].some((option) => option.value === String(method))) return;
    this.choice.value = String(method);
  }

  get worst() {
    const ranked = this.shown.map((db, image) => ({ image, db })).filter(({ db }) => db !== null);
    return ranked.sort((a, b) => b.db - a.db).slice(0, WORST);
  }

  show() {
    this.level = Number(this.section.querySelector("input.level").value);
    this.shown = this.values(Number(this.choice.value), this.level);
    const name = this.data.methods[Number(this.choice.value)].label;
    const caption = `${shorten(name, 60)} at σ = ${this.data.levels[this.level]}`;
    this.section.querySelector("[data-images-of]").textContent = caption;
    this.chart.setAttribute("aria-label", `Every image: ${caption}; the images that lose most are in the table beside`);
    this.body.replaceChildren(...this.worst.map((found) => this.row(found)));
    const code = this.section.querySelector(".again code");
    code.textContent = `gb.family(${JSON.stringify(this.data.spec)}).sample(${JSON.stringify(this.worst.map(({ image }) => image))}, seed=${this.data.seed}, split=${JSON.stringify(this.data.split)})`;
    if (this.chart.querySelector(".main-svg")) this.draw();
  }

  row({ image, db }) {
    const row = document.createElement("tr");
    const [head, value, cell] = [document.createElement("th"), document.createElement("td"), document.createElement("td")];
    head.scope = "row";
    head.textContent = String(image);
    value.textContent = db.toFixed(2).replace("-", "−");
    const source = this.data.images.pictures[image];
    if (source) {
      const picture = document.createElement("img");
      [picture.src, picture.alt] = [source, `Clean image ${image}`];
      cell.append(picture);
    } else cell.textContent = "not kept here";
    row.append(head, value, cell);
    return row;
  }

  draw() {
    const method = this.data.methods[Number(this.choice.value)];
    const worst = new Set(this.worst.map(({ image }) => image));
    const hue = isDark() ? method.dark : method.light;
    const every = this.shown.map((_, image) => image);
    const trace = {
      x: every, y: this.shown, mode: "markers+text", textposition: "top center", cliponaxis: false, textfont: { size: 11 },
      text: every.map((image) => (worst.has(image) ? String(image) : "")),
      marker: { color: hue, size: every.map((image) => (worst.has(image) ? 10 : 6)), symbol: method.marker, opacity: every.map((image) => (worst.has(image) ? 1 : 0.6)) },
      hovertemplate: "image %{x}<br>%{y:.2f} dB<extra></extra>",
    };
    const [ink, soft, rule] = [colour("ink"), colour("soft"), colour("rule")];
    const shared = { color: soft, gridcolor: rule, linecolor: rule, zerolinecolor: soft, automargin: false };
    Plotly.react(this.chart, [trace], {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest", dragmode: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink }, margin: { l: 58, r: 10, t: 18, b: 42 },
      xaxis: { ...shared, title: { text: "image" }, zeroline: false, range: [-0.02 * every.length - 0.5, 1.02 * every.length - 0.5] },
      yaxis: { ...shared, title: { text: this.chart.dataset.axis }, zeroline: true },
      ...onPaper(this.chart),
    }, CONFIG);
  }
}
