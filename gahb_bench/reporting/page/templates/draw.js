// Plotly travels compressed; unpacked, it is a script like any other, which the page's policy knows by its hash.
async function loadPlotly() {
  const packed = bytesOf(document.getElementById("plotly").textContent);
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
}

// A family is made ready when it comes near the window; all of them are before printing; the theme draws again.
const drawn = new Set();

function drawSection(family) {
  connect(family);
  drawn.add(family);
  family.draw();
  selections.get(family.section).images.draw();
}

function connect(family) {
  if (!selections.has(family.section)) selections.set(family.section, connectLevel(family));
}

const ready = loadPlotly();
const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
    near.unobserve(entry.target);
    const family = families.find(({ section }) => section === entry.target);
    connect(family);
    ready.then(() => drawSection(family));
  }
}, { rootMargin: "600px 0px" });
for (const family of families) near.observe(family.section);

const redraw = () => drawn.forEach(drawSection);
ready.then(() => {
  night.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => families.forEach(drawSection));
  window.addEventListener("afterprint", redraw);
});
