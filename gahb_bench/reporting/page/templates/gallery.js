// A noise level is chosen by the slider or by a point of a curve, and the pictures, the images and the charts follow.
const selections = new Map();

function connectLevel(charts) {
  const { section, data } = charts;
  const slider = section.querySelector("input.level");
  const gallery = section.querySelector(".gallery");
  const inputs = [...section.querySelectorAll(`input[name="${section.id}-image"]`)];
  const images = new FamilyImages(section, data);
  const show = () => {
    const level = Number(slider.value);
    slider.setAttribute("aria-valuetext", `σ = ${data.levels[level]}`);
    for (const output of section.querySelectorAll(".level-name")) {
      output.firstChild.textContent = `σ = ${data.levels[level]} `;
      const scaled = output.querySelector("small"); // signals have none
      if (scaled) scaled.textContent = `255σ = ${data.scaled[level]}`;
    }
    if (gallery) showPictures(section, data, level, Number(inputs.find((input) => input.checked)?.value ?? 0));
    images.show();
    charts.mark(level);
  };
  for (const input of [slider, ...inputs]) input.addEventListener("input", show);
  show();
  const select = (sigma, method) => {
    slider.value = String(nearest(data.sigmas, sigma));
    if (method !== undefined) images.choose(method);
    show();
  };
  return { select, images };
}

function nearest(levels, sigma) {
  const apart = levels.map((level) => Math.abs(Math.log(level / sigma)));
  return apart.indexOf(Math.min(...apart));
}

function showPictures(section, data, level, image) {
  const { gallery } = data;
  const kept = nearest(gallery.levels.map((position) => data.sigmas[position]), data.sigmas[level]);
  const note = section.querySelector(".other-level");
  note.hidden = gallery.levels[kept] === level;
  note.textContent = note.hidden ? "" : `No pictures are kept at this noise level; these are at σ = ${data.levels[gallery.levels[kept]]}.`;
  const cell = gallery.cells[kept][image];
  const [black, white] = gallery.windows[image];
  section.querySelector(".scale").textContent = cell.error_scale;
  section.querySelector(".black").textContent = black;
  section.querySelector(".white").textContent = white;
  section.querySelector('[data-picture="noisy"]').src = cell.noisy;
  section.querySelector('[data-picture="clean"]').src = gallery.clean[image];
  if (cell.inferred) {
    section.querySelector('[data-picture="outline"]').src = cell.inferred.outline;
    section.querySelector('[data-picture="unsure"]').src = cell.inferred.unsure;
    section.querySelector(".most").textContent = cell.inferred.most;
  }
  for (const figure of section.querySelectorAll(".gallery [data-method]")) showMethod(figure, cell.methods[Number(figure.dataset.method)]);
}

function showMethod(figure, pictures) {
  for (const img of figure.querySelectorAll("img")) {
    img.hidden = !pictures;
    if (pictures) img.src = pictures[img.dataset.picture];
  }
  figure.querySelector(".none").hidden = Boolean(pictures);
  figure.querySelector(".psnr").textContent = pictures && pictures.psnr_db !== null ? `${pictures.psnr_db.toFixed(2)} dB` : "–";
}
