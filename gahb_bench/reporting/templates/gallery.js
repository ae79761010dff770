// The pictures: a noise level and an image are chosen, and every picture of the family follows.
for (const section of document.querySelectorAll("section.family")) {
  const data = page.families[Number(section.dataset.family)].gallery;
  if (data) connectGallery(section, data);
}

function connectGallery(section, data) {
  const slider = section.querySelector("input.level");
  const images = [...section.querySelectorAll(`input[name="${section.id}-image"]`)];
  const show = () => {
    const level = Number(slider.value);
    const image = Number(images.find((input) => input.checked)?.value ?? 0);
    const cell = data.cells[level][image];
    const [black, white] = data.windows[image];
    slider.setAttribute("aria-valuetext", `σ = ${data.levels[level]}`);
    const output = section.querySelector(".level-name");
    output.firstChild.textContent = `σ = ${data.levels[level]} `;
    output.querySelector("small").textContent = `255σ = ${data.scaled[level]}`;
    section.querySelector(".scale").textContent = cell.error_scale;
    section.querySelector(".black").textContent = black;
    section.querySelector(".white").textContent = white;
    section.querySelector('[data-picture="noisy"]').src = cell.noisy;
    section.querySelector('[data-picture="clean"]').src = data.clean[image];
    if (cell.inferred) {
      section.querySelector('[data-picture="outline"]').src = cell.inferred.outline;
      section.querySelector('[data-picture="unsure"]').src = cell.inferred.unsure;
      section.querySelector(".most").textContent = cell.inferred.most;
    }
    for (const figure of section.querySelectorAll(".gallery [data-method]")) showMethod(figure, cell.methods[Number(figure.dataset.method)]);
  };
  for (const input of [slider, ...images]) input.addEventListener("input", show);
  show();
}

function showMethod(figure, pictures) {
  for (const img of figure.querySelectorAll("img")) {
    img.hidden = !pictures;
    if (pictures) img.src = pictures[img.dataset.picture];
  }
  figure.querySelector(".none").hidden = Boolean(pictures);
  figure.querySelector(".psnr").textContent = pictures && pictures.psnr_db !== null ? `${pictures.psnr_db.toFixed(2)} dB` : "–";
}
