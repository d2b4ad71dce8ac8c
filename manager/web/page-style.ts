/** How the page looks, by day and by night. */
export const STYLE = `:root {
  color-scheme: light dark;
  --ink: light-dark(#1b1f24, #e6e9ee);
  --dim: light-dark(#57606a, #9aa4b0);
  --paper: light-dark(#ffffff, #14171c);
  --panel: light-dark(#f3f5f8, #1e232b);
  --line: light-dark(#8c959f, #5b6572);
  --good: light-dark(#1a7f37, #56d364);
  --warn: light-dark(#8a5a00, #e3b341);
  --bad: light-dark(#b42318, #ff8a80);
  --accent: light-dark(#0b57d0, #8ab4f8);
}
body { margin: 0 auto; max-width: 72rem; padding: 1rem; font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; border-bottom: 1px solid var(--line); }
header p { margin: 0; color: var(--dim); }
h1 { margin: 0; font-size: 1.5rem; }
h2 { font-size: 1.25rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
#problem { border-left: .3rem solid var(--bad); background: var(--panel); padding: .5rem 1rem; }
.facts { color: var(--dim); margin: 0 0 .5rem; }
svg { max-width: 100%; height: auto; background: var(--panel); border-radius: .5rem; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .dim { fill: var(--dim); }
svg .slot { fill: none; stroke: var(--line); stroke-width: 1.5; }
svg .empty { stroke-dasharray: 4 4; }
svg .wire { stroke: var(--line); stroke-width: 1.5; fill: none; }
svg .function { fill: var(--paper); stroke: var(--line); stroke-width: 1.5; }
svg .plugged { stroke: var(--good); }
svg .plugging, svg .unplugging, svg .recovering { stroke: var(--warn); stroke-dasharray: 3 2; }
svg .lost { stroke: var(--bad); }
svg .busy { fill: var(--accent); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
form { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; margin: .5rem 0; background: var(--panel); padding: .75rem; border-radius: .5rem; }
fieldset { border: 0; padding: 0; margin: 0; display: contents; }
label { display: grid; gap: .2rem; font-size: .875rem; }
label.check { display: flex; align-items: center; gap: .4rem; }
input, select, button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: .3rem; padding: .3rem .6rem; }
button { cursor: pointer; }
button:disabled { opacity: .5; cursor: progress; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
#happened { max-height: 14rem; overflow: auto; font: 13px/1.5 ui-monospace, monospace; padding-left: 1.5rem; }
@media (prefers-reduced-motion: no-preference) { svg .function { transition: stroke .3s; } }
`;
