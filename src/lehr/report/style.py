"""How a report looks: like an appendix of a well-set paper, in light, in dark and in print."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fdfcf9; --ink: #1f1d1a; --soft: #625d55; --hair: #ddd8ce; --wash: #f4f1ea;
  --c0: #23587c; --c1: #b4481e; --c2: #3c7a48; --c3: #75509a; --c4: #8b6a14; --c5: #a2355f;
  --right: 35 88 124; --wrong: 180 72 30; --alarm: #9c2b16;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181b; --ink: #e7e3da; --soft: #a9a49a; --hair: #3a3b40; --wash: #202226;
    --c0: #82b6dc; --c1: #ea9a6e; --c2: #8cc497; --c3: #bd9fdd; --c4: #d3b560; --c5: #e38fb0;
    --right: 130 182 220; --wrong: 234 154 110; --alarm: #f0a08c;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; padding: 3.5rem 1.25rem 5rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.55 "Iowan Old Style", "Palatino Linotype", Palatino, "Source Serif 4",
    "Book Antiqua", "Liberation Serif", Georgia, "Times New Roman", serif;
  font-variant-numeric: oldstyle-nums proportional-nums; hanging-punctuation: first;
  counter-reset: figure table section;
}
main { max-width: 62rem; margin: 0 auto; }
header, .prose, .measure { max-width: 44rem; }
header, .measure { margin-left: auto; margin-right: auto; }
p { margin: 0 0 .8rem; text-wrap: pretty; overflow-wrap: anywhere; }
.kicker {
  font-variant-caps: all-small-caps; letter-spacing: .09em; color: var(--soft); margin: 0 0 .4rem;
}
h1 {
  font-weight: 500; font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; margin: 0 0 .6rem;
  letter-spacing: -.01em; overflow-wrap: anywhere; text-wrap: balance;
}
.byline { color: var(--soft); font-style: italic; margin-bottom: 1.6rem; }
.verdict { font-size: 1.2rem; line-height: 1.5; margin-bottom: 0; }
header { border-bottom: 1px solid var(--ink); padding-bottom: 1.8rem; margin-bottom: 1rem; }
section { margin-top: 3.2rem; }
h2 {
  counter-increment: section; font-weight: 500; font-size: 1.4rem; line-height: 1.25;
  margin: 0 auto .9rem; max-width: 44rem; break-after: avoid;
}
h2::before { content: counter(section) "\\2002"; color: var(--soft); }
h3 { font-weight: 500; font-style: italic; font-size: 1rem; margin: 0 0 .3rem; }
.prose { margin: 0 auto 1rem; }
code, pre, .mono {
  font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
pre {
  background: var(--wash); padding: .8rem 1rem; margin: 0 auto 1rem; max-width: 44rem;
  overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 2px;
}
.alarm { border-left: 3px solid var(--alarm); }
.status-failed, .status-interrupted, .status-running { color: var(--alarm); }

.scroll {
  overflow-x: auto; width: min(100%, 44rem); margin: 0 auto 1.4rem; padding: 0 1px;
}
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--c0); outline-offset: 3px; }
.scroll.tall { max-height: 34rem; overflow-y: auto; }
table { border-collapse: collapse; font-variant-numeric: lining-nums tabular-nums; }
table.book { font-size: .94rem; line-height: 1.4; border-bottom: 1.5px solid var(--ink); }
table.book { min-width: min(100%, 26rem); border-top: 1.5px solid var(--ink); }
caption, figcaption { color: var(--soft); font-size: .92rem; line-height: 1.45; }
caption { caption-side: top; text-align: left; padding-bottom: .45rem; }
caption::before {
  counter-increment: table; content: "Table " counter(table) ". "; color: var(--ink);
}
figure { margin: 0 auto 1.8rem; break-inside: avoid; }
figcaption { max-width: 44rem; margin: .7rem auto 0; }
figcaption::before {
  counter-increment: figure; content: "Figure " counter(figure) ". "; color: var(--ink);
}
th { font-weight: 400; text-align: left; }
.book thead th {
  font-style: italic; border-bottom: .75px solid var(--ink); vertical-align: bottom;
  white-space: nowrap;
}
.book th, .book td { padding: .2rem .8rem; }
.book tr > :first-child { padding-left: .1rem; }
.book tr > :last-child { padding-right: .1rem; }
.book tbody tr:first-child > * { padding-top: .4rem; }
.book tbody tr:last-child > * { padding-bottom: .4rem; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.facts th { color: var(--soft); vertical-align: top; white-space: nowrap; }
.facts td { vertical-align: top; overflow-wrap: anywhere; min-width: 9rem; }
.best { font-weight: 700; }

.panels {
  display: grid; gap: 1.4rem 2rem; justify-content: center;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
}
.panels.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
.panels.few { max-width: 44rem; margin: 0 auto; justify-content: start; }
.panels.small h3 { font-size: .94rem; }
.panel { min-width: 0; max-width: 30rem; }
.small .panel { max-width: 21rem; }
.panel h3 { overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: inherit; font-variant-numeric: lining-nums tabular-nums; }
.keys { display: flex; flex-wrap: wrap; gap: 0 1.1rem; font-size: .88rem; margin: .1rem 0 0; }
.keys { padding: 0; list-style: none; color: var(--soft); }
.keys li::before {
  content: ""; display: inline-block; width: 1.3em; margin-right: .45em; vertical-align: .28em;
  border-top: 2px solid var(--key); opacity: var(--faint, 1);
}
.keys .dashed::before { border-top-style: dashed; }
.nothing { color: var(--soft); font-style: italic; }

.pair {
  display: grid; gap: 1.4rem 2rem; justify-content: center;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), max-content));
}
.pair > * { min-width: 0; }
.matrix { font-size: .86rem; line-height: 1.2; border-spacing: 1.5px; border-collapse: separate; }
.matrix td { min-width: 2.3rem; height: 2.1rem; padding: 0 .3rem; text-align: center; }
.matrix td { background: rgb(var(--tone) / var(--a)); }
.matrix td.none { background: var(--wash); color: var(--soft); }
.matrix td.full { color: var(--paper); }
.matrix thead th { text-align: center; vertical-align: bottom; padding: 0 .2rem .25rem; }
.matrix thead th > span { display: inline-block; max-width: 10rem; }
.matrix .upright { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 10rem; }
.matrix tbody th { text-align: right; padding: 0 .5rem; white-space: nowrap; }
.matrix th > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix tbody th > span { display: inline-block; max-width: 9rem; vertical-align: middle; }
.matrix .corner { color: var(--soft); font-style: italic; font-size: .92em; white-space: nowrap; }
.hit { --tone: var(--right); }
.miss { --tone: var(--wrong); }
svg .hit { fill: rgb(var(--right) / var(--a)); }
svg .miss { fill: rgb(var(--wrong) / var(--a)); }
.map { max-width: 40rem; margin: 0 auto; }

.mistakes {
  display: grid; gap: 1.3rem 1rem; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr));
  padding: 0; margin: 0 auto; list-style: none; max-width: 44rem;
}
.mistakes li { break-inside: avoid; font-size: .86rem; line-height: 1.35; min-width: 0; }
.mistakes li { overflow-wrap: anywhere; }
.mistakes img {
  display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--wash);
  margin-bottom: .4rem; border-radius: 2px;
}
.mistakes img.pixels { image-rendering: pixelated; }
.mistakes .words { background: var(--wash); padding: .5rem .6rem; margin: 0 0 .4rem; }
.mistakes .said { color: var(--c1); }
.mistakes .chance, .mistakes .nr { color: var(--soft); font-variant-numeric: lining-nums; }
.wide-words { grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); }

details { max-width: 62rem; margin: 0 auto 1.2rem; }
summary { cursor: pointer; max-width: 44rem; margin: 0 auto .7rem; color: var(--c0); }
footer {
  max-width: 44rem; margin: 4rem auto 0; padding-top: .8rem; border-top: .75px solid var(--hair);
  color: var(--soft); font-size: .9rem;
}
@media (max-width: 34rem) {
  body { padding: 1.8rem 1rem 3rem; font-size: 1rem; }
  section { margin-top: 2.4rem; }
  .book th, .book td { padding-left: .5rem; padding-right: .5rem; }
  .facts th { white-space: normal; min-width: 5.5rem; overflow-wrap: anywhere; }
  .facts td { min-width: 5rem; }
  .matrix td { min-width: 1.55rem; height: 1.7rem; padding: 0 .1rem; }
  .matrix { font-size: .78rem; border-spacing: 1px; }
  .matrix .corner { white-space: normal; }
  .mistakes { grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #000; --soft: #444; --hair: #ccc; --wash: #f3f3f3;
    --c0: #23587c; --c1: #b4481e; --c2: #3c7a48; --c3: #75509a; --c4: #8b6a14; --c5: #a2355f;
    --right: 35 88 124; --wrong: 180 72 30; --alarm: #9c2b16;
  }
  html { font-size: 9.5pt; }
  body { padding: 0; font-size: 1rem; print-color-adjust: exact; }
  .scroll { break-inside: avoid; }
  details .scroll { break-inside: auto; }
  .scroll, .scroll.tall { overflow: visible; max-height: none; }
  section { margin-top: 1.6rem; }
}
"""
"""The style sheet of every page that a report is made of."""
