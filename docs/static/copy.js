// A button in every block of code that copies it; of a doctest, what is typed.
"use strict";

function typed(text) {
  const lines = text.replace(/\n$/, "").split("\n");
  const said = lines.filter((line) => /^(>>>|\.\.\.)( |$)/.test(line));
  return said.length ? said.map((line) => line.slice(4)).join("\n") : lines.join("\n");
}

document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return; // not on a page that is read over plain http
  for (const block of document.querySelectorAll("div.highlight")) {
    const code = block.querySelector("pre");
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(typed(code.innerText));
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    block.append(button);
  }
});
