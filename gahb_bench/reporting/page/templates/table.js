// Tables that sort: a heading is a button; a second press turns the order round; rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table.tBodies[0], column, heading.dataset.kind === "text", descending ? -1 : 1);
    });
  });
}

function sortRows(body, column, isText, sign) {
  const key = (row) => row.cells[column]?.dataset.value ?? "";
  const compare = (a, b) => (isText ? a.localeCompare(b) : Number(a) - Number(b));
  const rows = [...body.rows].sort((first, second) => {
    const [a, b] = [key(first), key(second)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * compare(a, b);
  });
  body.append(...rows);
}
