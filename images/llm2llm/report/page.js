// Shows the rows of the page: search, filters, links to a row, and a copy as JSONL. Text is always set as text.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("rows").textContent);
  const PAGE = 50;
  const seeds = new Map(data.answered.filter((row) => row.set === "seed").map((row) => [row.id, row]));
  const writtenFor = Map.groupBy ? Map.groupBy(data.written, (row) => row.seed) : groups(data.written);

  function groups(rows) {
    const found = new Map();
    for (const row of rows) {
      if (!found.has(row.seed)) found.set(row.seed, []);
      found.get(row.seed).push(row);
    }
    return found;
  }

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const text = (value) => element("bdi", {}, value);

  function fields(of) {
    const names = Object.keys(of);
    return names.map((name) =>
      element("div", {}, names.length > 1 ? element("span", { class: "field" }, name + " ") : null, text(of[name])));
  }

  const searched = (row) =>
    [row.id, row.label, row.seed ?? "", row.verdict ?? "", ...Object.values(row.text), ...(row.answers ?? []).map((given) => given[2])]
      .join("\n").toLowerCase();

  function options(rows, of) {
    return [...new Set(rows.flatMap(of))].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
  }

  // An explorer in a section: `filters` maps a name to its choices and its test of a row; `draw` makes a row's cells.
  function explorer(section, rows, filters, columns, draw) {
    const index = new Map(rows.map((row) => [row, searched(row)]));
    const search = element("input", { type: "search", "aria-label": "Search", placeholder: "Search text, label, answer, id" });
    const selects = {};
    const count = element("p", { class: "count", role: "status" });
    const body = element("tbody", {});
    const more = element("button", { type: "button", onclick: () => grow() }, "Show more");
    let found = [], shown = 0;
    const bar = element("div", { class: "filters" }, element("label", {}, "search", search));
    for (const [name, filter] of Object.entries(filters)) {
      selects[name] = element("select", { onchange: () => apply() },
        ...filter.choices.map(([value, label]) => element("option", { value }, label)));
      selects[name].value = filter.first ?? filter.choices[0][0];
      bar.append(element("label", {}, name, selects[name]));
    }
    const copy = element("button", { type: "button", onclick: () => copyAll() }, "Copy as JSONL");
    bar.append(copy);
    search.addEventListener("input", () => apply());
    section.append(bar, count, element("table", {},
      element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))), body), more);

    function apply() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = Object.fromEntries(Object.entries(selects).map(([name, select]) => [name, select.value]));
      found = rows.filter((row) => words.every((word) => index.get(row).includes(word))
        && Object.entries(filters).every(([name, filter]) => filter.test(row, chosen[name], chosen)));
      shown = 0;
      body.replaceChildren();
      grow();
    }

    function grow(until = shown + PAGE) {
      const next = found.slice(shown, until);
      body.append(...next.map((row) => {
        const cells = draw(row).map((children, place) =>
          element(place ? "td" : "th", place ? { "data-name": columns[place] } : { scope: "row" }, ...children));
        return element("tr", { id: anchor(row), tabindex: "-1" }, ...cells);
      }));
      shown += next.length;
      more.hidden = shown >= found.length;
      count.textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`
        + (shown < found.length ? `, the first ${shown.toLocaleString("en")} shown` : "");
    }

    async function copyAll() {
      const lines = found.map((row) => JSON.stringify(row)).join("\n") + "\n";
      try {
        await navigator.clipboard.writeText(lines);
      } catch {
        const area = element("textarea", { readonly: "" });
        area.value = lines;
        section.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      copy.textContent = `Copied ${found.length} rows`;
      setTimeout(() => { copy.textContent = "Copy as JSONL"; }, 2000);
    }

    function reveal(id) {
      const row = rows.find((each) => anchor(each) === id);
      if (!row) return false;
      search.value = "";
      for (const [name, select] of Object.entries(selects)) select.value = filters[name].choices[0][0];
      apply();
      grow(found.indexOf(row) + 1);
      go(document.getElementById(id));
      return true;
    }
    apply();
    return { search, body, reveal };
  }

  const anchor = (row) => `${row.set}-${row.iteration ?? ""}${row.iteration === undefined ? "" : "-"}${row.id}`
    .replace(/\p{Surrogate}/gu, "\ufffd");  // half of a character cannot be in an address
  const link = (row) => element("a", { href: "#" + encodeURIComponent(anchor(row)), title: "Link to this row" }, text(row.id));

  function go(row) {
    document.querySelectorAll("tr.here").forEach((other) => other.classList.remove("here"));
    row.classList.add("here");
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "center" });
  }

  function given([iteration, verdict, output]) {
    const right = verdict === "correct";
    return element("span", { class: `given ${right ? "right" : "wrong"}`, title: `iteration ${iteration}: ${verdict}` },
      element("i", {}, String(iteration)), right ? "✓" : text(output || verdict), right ? null : "✗");
  }

  function lesson(row) {
    const written = row.set === "seed" ? writtenFor.get(row.id) : undefined;
    if (!written) return null;
    return element("details", {}, element("summary", {}, `${written.length} rows by the teacher for it`),
      ...written.map((each) => element("div", {}, element("span", { class: verdictClass(each) }, `${each.iteration} ${each.verdict} `),
        ...fields(each.text), each.label ? element("span", { class: "quiet" }, "→ ", text(each.label)) : null)));
  }

  const verdictClass = (row) => (row.verdict === "kept" ? "verdict-kept" : "verdict-rejected");
  const any = [["", "any"]];
  const plain = (values) => any.concat(values.map((value) => [String(value), String(value)]));
  const answers = data.answered, taught = data.written;
  const iterations = options(answers, (row) => row.answers.map((answer) => answer[0]));
  const labels = options(answers, (row) => [row.label]);
  const matches = (row, { verdict, iteration }) => row.answers.some((answer) =>
    (!iteration || String(answer[0]) === iteration)
    && (!verdict || (verdict === "!" ? answer[1] !== "correct" : answer[1] === verdict)));
  const one = explorer(document.getElementById("answers"), answers, {
    set: { choices: plain(options(answers, (row) => [row.set])), test: (row, value) => !value || row.set === value },
    ...(labels.length <= 200 ? { class: { choices: plain(labels), test: (row, value) => !value || row.label === value } } : {}),
    iteration: { choices: plain(iterations), test: () => true },
    verdict: {
      choices: [...any, ["!", "not correct"], ...options(answers, (row) => row.answers.map((answer) => answer[1])).map((value) => [value, value])],
      first: answers.some((row) => row.wrong) ? "!" : "",
      test: (row, value, chosen) => (!value && !chosen.iteration) || matches(row, chosen),
    },
  }, ["row", "text", "label", "answers"], (row) => [
    [link(row), element("div", { class: "quiet" }, `${row.set} row ${row.row}`), row.suspect ? element("div", { class: "verdict-rejected" }, "suspect") : null],
    fields(row.text), [text(row.label)], [...row.answers.map(given), lesson(row)],
  ]);
  const two = explorer(document.getElementById("teacher"), taught, {
    iteration: { choices: plain(options(taught, (row) => [row.iteration])), test: (row, value) => !value || String(row.iteration) === value },
    verdict: { choices: plain(options(taught, (row) => [row.verdict])), test: (row, value) => !value || row.verdict === value },
  }, ["row", "text", "label", "verdict", "seed row"], (row) => {
    const seed = seeds.get(row.seed);
    return [[link(row), element("div", { class: "quiet" }, `iteration ${row.iteration}`)], fields(row.text), [text(row.label)],
      [element("span", { class: verdictClass(row) }, row.verdict), row.detail ? element("div", { class: "quiet" }, text(row.detail)) : null],
      seed ? [...fields(seed.text), element("div", { class: "quiet" }, "→ ", text(seed.label))] : [text(row.seed)]];
  });

  const follow = () => {
    let id = location.hash.slice(1);
    try { id = decodeURIComponent(id); } catch { /* not every text behind a # is encoded */ }
    if (id && !one.reveal(id)) two.reveal(id);
  };
  addEventListener("hashchange", follow);
  follow();
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); one.search.focus(); }
    if (event.key === "j" || event.key === "k") {
      const rows = [...document.querySelectorAll(".explorer tbody tr")];
      const place = rows.findIndex((row) => row.classList.contains("here"));
      const next = rows[event.key === "j" ? place + 1 : Math.max(0, place - 1)];
      if (next) go(next);
    }
  });
})();
