// The style sheet of a report: one column on a phone, two charts side by side where there is room, dark where the
// reader's system is. Colours of curves are Okabe and Ito's, safe for colour blindness, lightened for the dark page.
#pragma once

namespace longrope::cli {

inline constexpr const char* kReportStyle = R"css(
:root{--bg:#f6f5f2;--card:#fff;--ink:#1d1f21;--soft:#5d6167;--line:#e2dfd8;--grid:#ebe8e2;
--best:#c2410c;--yarn:#0b6fb3;--ntk:#00805f;--pi:#a8478f;--none:#80858b;--base:#8a6d00;--extra:#5a4fcf;--dust:#b9b4a9;
--good:#00805f;--busy:#9a6a00}
@media (prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1d2024;--ink:#e9e7e2;--soft:#a3a6ab;--line:#32363c;--grid:#2a2e33;
--best:#ff8a50;--yarn:#5db8f5;--ntk:#3ec9a0;--pi:#e08cc6;--none:#9da2a9;--base:#e0bc45;--extra:#a79ffb;--dust:#585d64;
--good:#3ec9a0;--busy:#e0bc45}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:70rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1,h2,h3,p,ul,dl,dd,figure,pre{margin:0;padding:0}
h1{font-size:1.6rem;line-height:1.2;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.25rem 0 .75rem;overflow-wrap:anywhere}
h3{font-size:1rem}
section>.sub{margin-bottom:.75rem}
.card dl{margin-top:.6rem}
.lead{font-size:1.1rem;margin:.6rem 0 1.1rem;max-width:46rem}
.sub{color:var(--soft);margin-top:.25rem;overflow-wrap:anywhere}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));align-items:start}
.tiles{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,9.5rem),1fr));margin:0 0 1rem}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:.75rem;min-width:0}
.tile{padding:.7rem .9rem}
.tile b{display:block;font-size:1.5rem;line-height:1.25;font-weight:650;overflow-wrap:anywhere}
.tile span{color:var(--soft);font-size:.875rem;overflow-wrap:anywhere}
.card{padding:1rem}
.wide{grid-column:1/-1}
.scroll+section{margin-top:1rem}
.card p{color:var(--soft);font-size:.9rem;margin-top:.15rem}
section>.card,section>.scroll{margin-top:1rem}
section>.grid+.card,section>.grid+.grid,section>.tiles+.card{margin-top:1rem}
svg.chart{display:block;width:100%;height:auto;margin-top:.6rem}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg text.strong{fill:var(--ink)}
svg text.cell{fill:#1d1f21}
svg .grid-line{stroke:var(--grid);stroke-width:1;fill:none}
svg .frame{stroke:var(--line);stroke-width:1;fill:none}
svg .line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
svg .line.best{stroke-width:2.8}
svg .line.dust{stroke-width:1;opacity:.55}
svg .dot{fill:var(--c);stroke:var(--card);stroke-width:.8}
svg .dot.dust{stroke:none;opacity:.75}
svg .rule{stroke:var(--c);stroke-width:1.3;stroke-dasharray:5 4;fill:none}
svg .fill{fill:var(--c)}
svg .back{fill:var(--grid)}
.best{--c:var(--best)}.yarn{--c:var(--yarn)}.ntk{--c:var(--ntk)}.pi{--c:var(--pi)}.none{--c:var(--none)}.base{--c:var(--base)}
.extra{--c:var(--extra)}.dust{--c:var(--dust)}.ink{--c:var(--ink)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.875rem;margin-top:.5rem}
.legend li{display:flex;align-items:center;gap:.4rem;min-width:0;overflow-wrap:anywhere}
.legend i{flex:none;background:var(--c)}
.legend i.bar{width:1.1rem;height:.25rem;border-radius:2px}
.legend i.dot{width:.6rem;height:.6rem;border-radius:50%}
.pill{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .6rem;font-size:.85rem;color:var(--soft);
vertical-align:middle;max-width:100%;overflow-wrap:anywhere}
td .pill{white-space:nowrap}
.pill.done{color:var(--good)}.pill.running{color:var(--busy)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
.card .scroll{border:0;margin-top:.5rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:500;font-size:.825rem;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
dl{display:grid;grid-template-columns:minmax(6.5rem,auto) minmax(0,1fr);gap:.3rem .9rem;font-size:.925rem}
dt{color:var(--soft)}
dd{overflow-wrap:anywhere}
code,pre{font:.875em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
details{margin-top:1rem}
summary{cursor:pointer;font-weight:600}
details .scroll{margin-top:.6rem;max-height:32rem;overflow-y:auto}
footer{color:var(--soft);font-size:.875rem;margin-top:2.5rem}
@media (max-width:30rem){svg text{font-size:14px}.tile:last-child:nth-child(odd){grid-column:1/-1}}
a{color:var(--yarn)}
@media print{body{background:#fff}.card,.tile{break-inside:avoid}}
)css";

}  // namespace longrope::cli
