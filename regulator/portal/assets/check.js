// Checks answers and checkpoints in the reader's browser. All that is decided is
// decided by Go's package replay (replay.wasm); here it is only asked and shown.
// Whatever is shown is put in as text, never as markup.
"use strict";

const pinned = "countroom/vkey";
const $ = (selector, within = document) => within.querySelector(selector);

// The checking program is loaded with the page, so that the page then needs no
// network.
const loaded = (async () => {
  const go = new Go();
  const ready = new Promise((done) => { globalThis.countroomReady = done; });
  const { instance } = await WebAssembly.instantiateStreaming(fetch("/verify/replay.wasm"), go.importObject);
  // It runs until the page is left, unless it fails its test of itself.
  const ended = go.run(instance).then(() => { throw new Error("it failed its test of itself"); });
  await Promise.race([ready, ended]);
})();

function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

const words = { holds: "Holds", fails: "Fails", open: "Open" };
const verdicts = {
  holds: "Everything holds.",
  fails: "This does not hold. Do not rely on it, and keep it: it may be evidence.",
  open: "What could be checked holds; not everything could be checked yet.",
};

// show writes a report.
function show(into, report, milliseconds) {
  const list = element("ol", "steps");
  for (const s of report.steps) {
    const item = element("li", s.state);
    item.append(element("span", "state", words[s.state]), element("strong", "", s.title), element("p", "", s.text));
    list.append(item);
  }
  const verdict = element("p", "verdict " + report.verdict, verdicts[report.verdict]);
  verdict.append(element("span", "quiet", ` Checked in ${milliseconds.toFixed(1)} ms on this device.`));
  into.replaceChildren(verdict, list);
  if (report.round && into.hasAttribute("data-reels")) into.append(reels(report.round));
  into.dataset.verdict = report.verdict;
  into.dataset.milliseconds = milliseconds;
}

// reels shows a round as the player saw it.
function reels(round) {
  const all = element("section", "shown");
  all.append(element("h3", "", `${round.game} ${round.release}: stake ${round.stake}, payout ${round.payout}`));
  round.spins.forEach((spin, i) => {
    const part = element("section", "spin");
    const title = element("h4", "", spin.free ? `Free spin ${i}` : "Spin");
    title.append(element("span", "quiet", ` pays ${spin.pay}` + (spin.multiplier > 1 ? `, multiplied by ${spin.multiplier}` : "")));
    const table = element("table", "reels");
    table.append(element("caption", "hidden", "What stood on the five reels"));
    const body = element("tbody");
    for (const row of spin.rows) {
      const tr = element("tr");
      for (const cell of row) {
        const td = element("td", cell.lit ? "lit" : "", cell.symbol);
        if (cell.lit) td.append(element("span", "hidden", " (wins)"));
        tr.append(td);
      }
      body.append(tr);
    }
    table.append(body);
    part.append(title, table);
    const wins = element("ul", "wins");
    for (const w of spin.wins) wins.append(element("li", "", `Line ${w.line}: ${w.count} × ${w.symbol} pays ${w.pay}`));
    if (spin.scatters) {
      wins.append(element("li", "", `${spin.scatters} scatter${spin.scatters > 1 ? "s" : ""}` + (spin.scatterPay ? ` pay ${spin.scatterPay}` : "") + (spin.awarded ? `, ${spin.awarded} free spins won` : "")));
    }
    if (wins.children.length) part.append(wins);
    all.append(part);
  });
  if (round.capped) all.append(element("p", "", "The round reached the game’s greatest payout and ended."));
  return all;
}

function say(into, text) {
  into.replaceChildren(element("p", "verdict fails", text));
  into.dataset.verdict = "fails";
}

// timed asks the checking program and shows what it says.
function timed(into, ask) {
  const start = performance.now();
  const report = ask();
  show(into, report, performance.now() - start);
}

const vkey = $("#vkey");
if (vkey) {
  try {
    vkey.value = localStorage.getItem(pinned) || "";
  } catch { /* a browser that keeps nothing */ }
  vkey.addEventListener("change", () => {
    vkey.value = vkey.value.trim();
    try {
      localStorage.setItem(pinned, vkey.value);
    } catch { /* likewise */ }
  });
}
const key = () => vkey.value.trim();

// An entry of the portal: all that the check takes is in the page.
const entryPart = $("[data-check]");
if (entryPart) {
  const into = $("[data-report]", entryPart);
  const check = () => {
    const more = [...document.querySelectorAll("[data-more]")].map((e) => e.textContent);
    const nonce = $("#nonce") ? $("#nonce").textContent : "";
    timed(into, () => countroom.check(key(), $("#answer").textContent, nonce, ...more));
  };
  $("[data-act=check]").addEventListener("click", check);
  loaded.then(() => { if (key()) check(); }, () => {});
}

// Two checkpoints.
const two = $("[data-consistency]");
if (two) {
  const into = $("[data-report]", two);
  // A text area loses the line end that a note has to end in.
  const note = (id) => $(id).value.trim() + "\n";
  $("[data-act=consistent]").addEventListener("click", async () => {
    const one = note("#one"), other = note("#other");
    const sizes = [countroom.size(one), countroom.size(other)].sort((a, b) => a - b);
    let hashes = "";
    if (sizes[0] > 0 && sizes[0] < sizes[1]) {
      try {
        const answer = await fetch(`/regulator/consistency?from=${sizes[0]}&to=${sizes[1]}`);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        hashes = page.getElementById("hashes")?.textContent ?? "";
      } catch {
        say(into, "The house gave no proof: it cannot be reached.");
        return;
      }
    }
    timed(into, () => countroom.consistent(key(), one, other, hashes));
  });
}

// A player's receipt.
const receipt = $("[data-receipt]");
if (receipt) {
  const into = $("[data-report]", receipt);
  into.setAttribute("data-reels", "");
  const paste = $("#paste");
  const read = async (file) => {
    if (file) paste.value = file.size > 1 << 21 ? "" : await file.text();
  };
  $("#open").addEventListener("change", (e) => read(e.target.files[0]));
  document.addEventListener("dragover", (e) => e.preventDefault());
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    read(e.dataTransfer.files[0]);
  });
  $("[data-act=offered]").addEventListener("click", () => {
    vkey.value = $("#offered").textContent;
    vkey.dispatchEvent(new Event("change"));
    vkey.focus();
  });
  // What the house says of the game and the seed; it is believed as little as
  // the answer.
  const ask = async (path) => {
    try {
      const answer = await fetch(path);
      return answer.ok ? await answer.text() : "";
    } catch {
      return "";
    }
  };
  $("[data-act=receipt]").addEventListener("click", async () => {
    const text = paste.value;
    const first = countroom.check(key(), text, "");
    let more = [];
    if (first.type === "round.settled" && first.verdict !== "fails") {
      const leaf = JSON.parse(first.leaf);
      more = await Promise.all([ask("/verify/games/" + encodeURIComponent(leaf.enabled)), ask("/v1/epochs/" + encodeURIComponent(leaf.draw.epoch))]);
    }
    timed(into, () => countroom.check(key(), text, $("#own-nonce").value.trim(), ...more));
  });
}

loaded.then(() => {
  for (const b of document.querySelectorAll("[data-act]")) b.disabled = false;
  for (const e of document.querySelectorAll("[data-loading]")) e.textContent = "";
  document.documentElement.dataset.ready = "";
}, (e) => {
  for (const l of document.querySelectorAll("[data-loading]")) l.textContent = "The checking program could not be loaded: " + e.message;
});
