"use strict";
// What every part of the page shares: the data, and the two themes.
const page = JSON.parse(document.getElementById("page-data").textContent);
const night = window.matchMedia("screen and (prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Plotly reads a little markup in its texts: names must not be taken for it.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function shorten(text, length) {
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

// Paper is light, and what is closed cannot be opened there.
window.addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  for (const details of document.querySelectorAll("details[data-print]")) details.open = true;
});
window.addEventListener("afterprint", () => document.documentElement.classList.remove("printing"));

function isDark() {
  return night.matches && !document.documentElement.classList.contains("printing");
}

// On a small screen the results come first.
if (window.matchMedia("(max-width: 40rem)").matches) document.querySelector(".glossary").open = false;
