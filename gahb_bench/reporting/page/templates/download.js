// What can be taken away: the curves as CSV, a chart as PNG, a command to the clipboard.
const COLUMNS = ["sigma", "mse", "mse_low", "mse_high", "regret_db", "regret_db_low", "regret_db_high", "exponent"];

function save(name, content) {
  const link = document.createElement("a");
  const url = typeof content === "string" ? content : URL.createObjectURL(content);
  [link.href, link.download] = [url, name];
  link.click();
  if (url !== content) setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A field of CSV: quoted, and nothing that a spreadsheet would take for a formula.
function field(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function csv(data) {
  const lines = [["family", "denoiser", "knows", ...COLUMNS].join(",")];
  for (const method of data.methods) {
    method.sigma.forEach((_, i) => lines.push([field(data.label), field(method.label), field(method.knows), ...COLUMNS.map((column) => method[column][i] ?? "")].join(",")));
  }
  const { reference } = data;
  reference.sigma.forEach((sigma, i) => reference.mse[i] !== null && lines.push([field(data.label), field(reference.name), field("reference"), sigma, reference.mse[i], reference.low[i], reference.high[i], "", "", "", reference.exponent[i] ?? ""].join(",")));
  return lines.join("\n") + "\n";
}

async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // no clipboard for this page: the text is selected, for the reader to copy
    getSelection().selectAllChildren(source);
    return false;
  }
}

for (const family of families) {
  const name = family.data.anchor;
  family.section.querySelector("[data-save=csv]").addEventListener("click", () => save(`${name}.csv`, new Blob([csv(family.data)], { type: "text/csv" })));
  family.section.querySelector("[data-save=png]").addEventListener("click", async () => save(`${name}-${family.metric}.png`, await family.picture()));
}
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    button.textContent = (await copy(code.textContent, code)) ? "copied" : "selected: press Ctrl+C";
    setTimeout(() => { button.textContent = "copy"; }, 3000);
  });
}
