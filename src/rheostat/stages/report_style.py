"""The page's style: light and dark, from a phone's width up, nothing loaded from elsewhere."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
"""Content policy of the page: even a slip in it could load and run nothing."""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --soft: #57606a;
  --line: #d8dce2; --wash: #f5f7f9; --accent: #005a94; --warn: #fff4d6; --warn-line: #b7791f;
  --mark: #ffd9b8; --mark-ink: #5c2600; --good: #0b6b45; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e7eaee; --soft: #a3acb8;
  --line: #363d47; --wash: #1d2229; --accent: #7cc0f2; --warn: #352a10; --warn-line: #d9a441;
  --mark: #6b3a12; --mark-ink: #ffe6d1; --good: #6fd6a8; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 71rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word; }
h1 { margin: 0.2rem 0 0.8rem; font-size: clamp(1.3rem, 1rem + 1.7vw, 1.9rem); line-height: 1.25;
  text-wrap: balance; }
h2 { margin: 2.6rem 0 0.6rem; padding-top: 0.9rem; border-top: 1px solid var(--line);
  font-size: 1.3rem; }
h3 { margin: 1.6rem 0 0.4rem; font-size: 1.05rem; }
p, ul, dl { margin: 0.5rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin: 1rem 0 0; padding: 0;
  list-style: none; font-size: 0.95rem; }
nav a { display: inline-block; padding: 0.2rem 0; }
.kicker, .soft, figcaption, caption { color: var(--soft); }
.kicker { margin: 0; font-size: 0.95rem; }
.notice { margin: 1rem 0; padding: 0.6rem 0.9rem; max-width: 46rem; background: var(--warn);
  border-left: 4px solid var(--warn-line); }
.notice p, .notice ul { margin: 0.2rem 0; }
.scroll { overflow-x: auto; margin: 0.9rem 0; }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: 0.9rem;
  font-variant-numeric: tabular-nums; }
caption { padding: 0 0 0.4rem; text-align: left; font-size: 0.9rem; }
th, td { padding: 0.38rem 0.7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; vertical-align: bottom; }
thead .groups th { padding-bottom: 0.1rem; border-bottom: 0; color: var(--soft);
  font-weight: 500; text-align: left; white-space: nowrap; }
thead .groups td { border-bottom: 0; }
th:first-child { position: sticky; left: 0; min-width: 6rem; max-width: 20rem;
  background: var(--paper); text-align: left; }
tbody th { font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; }
td.number { white-space: nowrap; }
.text { text-align: left; }
td.text { min-width: 8rem; max-width: 22rem; }
.under { display: block; color: var(--soft); font-size: 0.85rem; font-weight: 400; }
details { margin: 0.7rem 0; }
summary { padding: 0.3rem 0; color: var(--accent); cursor: pointer; }
figure { margin: 1.1rem 0; }
figure .scroll { margin: 0; max-width: 922px; background: #ffffff; border: 1px solid var(--line);
  border-radius: 6px; }
figure img { display: block; width: 100%; min-width: 36rem; max-width: 900px; height: auto;
  padding: 0.6rem; }
figcaption { margin-top: 0.4rem; max-width: 46rem; font-size: 0.9rem; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: 0.8rem; margin: 0.6rem 0 1.6rem; }
.answer { min-width: 0; padding: 0.6rem 0.8rem; background: var(--wash);
  border: 1px solid var(--line); border-radius: 6px; }
.answer h4 { margin: 0 0 0.3rem; font-size: 0.9rem; }
.answer p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.92rem; }
.same { color: var(--good); font-weight: 500; }
.soft { font-weight: 400; }
mark { padding: 0.05em 0.15em; background: var(--mark); color: var(--mark-ink);
  border-radius: 2px; }
dt { margin-top: 0.5rem; font-weight: 600; }
dd { margin: 0 0 0 1rem; }
pre { margin: 0.5rem 0; padding: 0.6rem 0.8rem; background: var(--wash);
  border: 1px solid var(--line); border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 0.88rem; }
code { overflow-wrap: anywhere; font-size: 0.92em; }
@media (max-width: 40rem) { body { padding: 1.2rem 1rem 3rem; }
  th:first-child { max-width: 9rem; } .scroll { margin-right: -1rem; } }
@media print { nav { display: none; } body { max-width: none; } }
"""
