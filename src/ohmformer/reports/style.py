"""The style sheet of a report."""

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa; --link: #0b5cad;
  --c0: #6b7280; --c1: #0072b2; --c2: #d55e00; --c3: #008a63; --c4: #a3478a; --c5: #8a6d00; --c6: #2b7f9e;
  --good: #00704f; --bad: #b03a00; --heat: 0, 114, 178; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171c; --ink: #e6e9ee; --soft: #a3acb8; --line: #3a424e; --panel: #1d222a; --link: #7bb8ff;
  --c0: #a3acb8; --c1: #56b4e9; --c2: #ff8c42; --c3: #2fc79a; --c4: #e39bd0; --c5: #e8c547; --c6: #8ed3ea;
  --good: #2fc79a; --bad: #ff8c42; --heat: 86, 180, 233; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer, nav { max-width: 1160px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 24px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1.02rem; margin: 24px 0 6px; overflow-wrap: anywhere; }
p { margin: 8px 0; max-width: 80ch; overflow-wrap: anywhere; }
a { color: var(--link); }
.verdict { border-left: 5px solid var(--c1); background: var(--panel); padding: 12px 16px; margin: 12px 0;
  font-size: 1.1rem; max-width: none; }
.verdict p { margin: 4px 0; max-width: none; }
.soft { color: var(--soft); font-size: .875rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; padding: 0; margin: 12px 0; }
.grid { display: grid; gap: 16px 24px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  align-items: start; }
.grid > * { min-width: 0; }
figure { margin: 8px 0; border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: 4px; }
figcaption .soft { font-weight: 400; display: block; }
svg { display: block; width: 100%; height: auto; max-width: 560px; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink);
  paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round; }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid-line { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .whisker { stroke: var(--ink); stroke-width: 1.4; fill: none; }
svg .mark { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .halo { stroke: var(--page); stroke-width: 1.2; }
svg .own { font-weight: 700; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); } .c5 { fill: var(--c5); } .c6 { fill: var(--c6); }
.l0 { stroke: var(--c0); } .l1 { stroke: var(--c1); } .l2 { stroke: var(--c2); } .l3 { stroke: var(--c3); }
.l4 { stroke: var(--c4); } .l5 { stroke: var(--c5); } .l6 { stroke: var(--c6); }
.curve { fill: none; stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; padding: 0; margin: 6px 0 0;
  font-size: .85rem; }
.legend svg { display: inline-block; width: 22px; height: 12px; vertical-align: middle; margin-right: 5px; }
.scroll { overflow-x: auto; max-width: 100%; margin: 8px 0; border: 1px solid var(--line);
  border-radius: 6px; }
table { border-collapse: collapse; font-size: .875rem; width: 100%; }
th, td { padding: 5px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { background: var(--panel); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 14ch; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td .wide { display: block; min-width: 26ch; max-width: 60ch; }
.terms tbody tr:nth-child(odd) > * { border-bottom: 0; padding-bottom: 1px; font-weight: 600; }
.terms td.why { color: var(--soft); padding-top: 0; min-width: 34rem; }
.heat { width: auto; }
.heat tbody th { min-width: 0; }
.heat td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details { border: 1px solid var(--line); border-radius: 6px; margin: 8px 0; padding: 0 12px; }
details[open] { padding-bottom: 8px; }
summary { cursor: pointer; padding: 8px 0; font-weight: 600; overflow-wrap: anywhere; }
code, pre { font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--panel); border-radius: 6px; padding: 10px 12px; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 8px 12px; }
.card h4 { margin: 0 0 4px; font-size: .9rem; }
.card p { white-space: pre-wrap; margin: 0 0 4px; }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
:target { outline: 3px solid var(--c2); outline-offset: -2px; }
footer { margin: 40px auto 32px; }
@media (max-width: 480px) {
  main, header, footer, nav { padding: 0 10px; }
  figure { padding: 8px 6px; }
}
@media print {
  :root { --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --panel: #f4f4f4; --link: #000;
    --c0: #6b7280; --c1: #0072b2; --c2: #d55e00; --c3: #008a63; --c4: #a3478a; --c5: #8a6d00; --c6: #2b7f9e;
    --heat: 0, 114, 178; }
  body { font-size: 10.5pt; }
  nav { display: none; }
  figure, .card, tr { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 7.5pt; }
  td .wide { min-width: 0; }
  thead th, td.number, th.number { white-space: normal; }
  details { border: 0; padding: 0; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
