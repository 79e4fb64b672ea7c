// What the page can do without, made where there is script: a filter of the
// contents, buttons that copy, a mark at what is being read, and this server's
// own address in the commands.
"use strict";

const contents = document.getElementById("contents");
const details = contents.querySelector("details");
const wide = matchMedia("(min-width: 64rem)");

// Browsers that cannot show closed details by style have them opened.
if (!CSS.supports("selector(::details-content)")) {
  const fit = () => { details.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
}
document.querySelector(".to-contents").addEventListener("click", () => { details.open = true; });

// Filter.
const links = [...contents.querySelectorAll("li > a")];
const filter = document.getElementById("filter");
const found = document.getElementById("found");
filter.parentElement.hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const a of links) {
    const text = (a.textContent + " " + (a.dataset.words || "")).toLowerCase();
    const fits = words.every((w) => text.includes(w));
    a.parentElement.hidden = !fits;
    count += fits;
  }
  for (const s of contents.querySelectorAll("section")) {
    s.hidden = !s.querySelector("li:not([hidden])");
  }
  found.textContent = words.length === 0 ? "" : count === 1 ? "1 entry" : count + " entries";
});

// Copy. Browsers offer the clipboard to secure origins and the own machine.
if (navigator.clipboard) {
  for (const code of document.querySelectorAll("main pre > code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    code.before(button);
  }
}

// Where this page came from is where commands go.
for (const code of document.querySelectorAll(".guide pre code")) {
  code.textContent = code.textContent.replace(/^(export HOUSE=).*$/m, "$1" + location.origin);
}

// What is being read is marked in the contents.
const marks = new Map();
for (const a of links) {
  marks.set(document.getElementById(decodeURIComponent(a.hash.slice(1))), a);
}
let here = null;
const follow = new IntersectionObserver((entries) => {
  for (const e of entries) {
    if (!e.isIntersecting) continue;
    if (here) here.removeAttribute("aria-current");
    here = marks.get(e.target);
    here.setAttribute("aria-current", "location");
    if (wide.matches) {
      const top = here.getBoundingClientRect().top - contents.getBoundingClientRect().top;
      if (top < 0 || top > contents.clientHeight - 40) contents.scrollTop += top - contents.clientHeight / 3;
    }
  }
}, { rootMargin: "0px 0px -70% 0px" });
for (const target of marks.keys()) follow.observe(target);
