// A recovery report as one HTML file: no script, no font and no picture from elsewhere, and it prints on paper. The signed report is inside,
// so that the file can be checked by itself (`holdfast run report --verify FILE`).
//
// Hazard: programs' output and people's words are strangers' text, and a report is opened by an auditor. All of it is escaped, and the
// page's own policy runs no script.
//
// Pure. Tested in report.test.ts.

import { decodeReport, type EvidenceReport } from './report.ts';
import { isSigned, keyFingerprint, reportScript, type SignedReport } from './report-signature.ts';
import { leadOf, momentRows, momentText, objectiveText, pointText, spanText, titleOf, tookMs } from './report-words.ts';

/** The same bytes for the same report. Throws DAMAGED for bytes that are none. */
export function reportHtml(signed: SignedReport): string {
  const report = decodeReport(signed.report);
  const title = escapeHtml(titleOf(report));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${title}</h1><p>${escapeHtml(leadOf(report))}</p></header>
<section class="cards">${card('Time to recovery (RTO)', report.objectives.rto)}${card('Data lost (RPO)', report.objectives.rpo)}</section>
${aboutSection(report)}
${momentSection(report)}
${stepSection(report)}
${decisionSection(report)}
${outputSection(report)}
<section><h2>Plan, as it was carried out</h2><pre>${escapeHtml(report.plan.document.trimEnd())}</pre></section>
${signatureSection(signed)}
${reportScript(signed)}
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (sign) => entities[sign]!);
}

/** Cells are text; what stands in `raw` is markup already. */
export function htmlTable(
  titles: readonly string[],
  rows: readonly (readonly (string | { readonly raw: string })[])[],
): string {
  const head = titles.map((title) => `<th>${escapeHtml(title)}</th>`).join('');
  const body = rows.map((row) => {
    return `<tr>${row.map((cell) => `<td>${typeof cell === 'string' ? escapeHtml(cell) : cell.raw}</td>`).join('')}</tr>`;
  });
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${body.join('\n')}\n</tbody></table>`;
}

function card(name: string, objective: EvidenceReport['objectives']['rto']): string {
  const { measuredMs, met } = objective;
  const tone = met === null ? 'open' : met ? 'good' : 'bad';
  const big = measuredMs === null ? '–' : spanText(measuredMs);
  return `<div class="card ${tone}"><h2>${escapeHtml(name)}</h2><b>${big}</b><p>${escapeHtml(objectiveText(objective))}</p></div>`;
}

function aboutSection({ run, plan, domain, controllerVersion }: EvidenceReport): string {
  const rows = [
    ['Run', `${run.id} (${run.mode})`],
    ['State', run.state],
    ['Started', `${momentText(run.startedAt)} by ${run.startedBy}`],
    ['Finished', momentText(run.finishedAt)],
    ['From, to', `${run.fromHost} → ${run.toHost}, epoch ${run.epoch}`],
    ['Recovery point', pointText(run)],
    [
      'Plan',
      `${plan.name} of ${domain}, revision ${plan.revision}, applied ${momentText(plan.appliedAt)} by ${plan.appliedBy}`,
    ],
    ['Owner', plan.owner],
    ['Controller', controllerVersion],
  ];
  const list = rows.map(([name = '', value = '']) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`);
  return `<section><h2>Run</h2><dl>${list.join('\n')}</dl></section>`;
}

function momentSection(report: EvidenceReport): string {
  const rows = momentRows(report);
  if (rows.length === 0) return '';
  const wholeMs = Math.max(1, rows.at(-1)!.offsetMs);
  const cells = rows.map(({ name, at, offsetMs }) => [
    name,
    momentText(at),
    `+${spanText(offsetMs)}`,
    { raw: bar(0, offsetMs / wholeMs) },
  ]);
  return `<section><h2>Time line</h2>${htmlTable(['Moment', 'At', 'After', ''], cells)}</section>`;
}

function stepSection({ steps }: EvidenceReport): string {
  const begins = steps.flatMap(({ startedAt }) => (startedAt === null ? [] : [Date.parse(startedAt)]));
  const ends = steps.flatMap(({ finishedAt }) => (finishedAt === null ? [] : [Date.parse(finishedAt)]));
  const firstMs = Math.min(...begins, Infinity);
  const wholeMs = Math.max(1, Math.max(...ends, 0) - firstMs);
  const rows = steps.map((step) => {
    const took = tookMs(step);
    const from = took === undefined ? 0 : (Date.parse(step.startedAt!) - firstMs) / wholeMs;
    const said = [step.message, step.remedy].filter((text) => text !== '').join(' → ');
    return [
      { raw: `<b>${escapeHtml(step.id)}</b><br><small>${escapeHtml(step.type)}</small>` },
      step.host || 'controller',
      {
        raw: `<span class="state ${toneOf(step.state)}">${escapeHtml(step.state)}</span>${step.attempt > 1 ? ` <small>try ${step.attempt}</small>` : ''}`,
      },
      took === undefined ? '–' : spanText(took),
      { raw: took === undefined ? '' : bar(from, took / wholeMs) },
      said,
    ];
  });
  return `<section><h2>Steps</h2>${htmlTable(['Step', 'Host', 'State', 'Took', 'When', 'Said'], rows)}</section>`;
}

function toneOf(state: string): string {
  if (state === 'ok') return 'good';
  return /failed|timed|unknown/.test(state) ? 'bad' : 'open';
}

/** Shares of the whole, 0 to 1. */
function bar(from: number, length: number): string {
  const percent = (share: number): string => (100 * Math.min(1, Math.max(0, share))).toFixed(1);
  return `<span class="way"><i style="margin-left:${percent(from)}%;width:${percent(length)}%"></i></span>`;
}

function decisionSection({ decisions }: EvidenceReport): string {
  const rows = decisions.map(({ at, actor, step, message }) => [momentText(at), actor, step, message]);
  const body =
    rows.length === 0 ? '<p>Nobody had to decide anything.</p>' : htmlTable(['At', 'Who', 'Step', 'What'], rows);
  return `<section><h2>Decisions</h2>${body}</section>`;
}

function outputSection({ steps }: EvidenceReport): string {
  const said = steps.filter(({ output }) => output !== '');
  if (said.length === 0) return '';
  const blocks = said.map(({ id, output }) => `<h3>${escapeHtml(id)}</h3><pre>${escapeHtml(output.trimEnd())}</pre>`);
  return `<section><h2>Output</h2>${blocks.join('\n')}</section>`;
}

function signatureSection(signed: SignedReport): string {
  if (signed.signature.length === 0)
    return '<section><h2>Signature</h2><p>Not signed: the run has not ended.</p></section>';
  const fits = isSigned(signed) ? '' : ' <b>The signature does not fit.</b>';
  return `<section><h2>Signature</h2>
<p>Ed25519, by the key of fingerprint <code>${keyFingerprint(signed.publicKey)}</code>.${fits} What is signed is in this file as data. To check it:
<code>holdfast run report --verify FILE</code></p></section>`;
}

/** Of reports and runbooks: a page that is read on a screen and printed. */
export const STYLE = `
:root{color-scheme:light;--ink:#1c2430;--soft:#5b6775;--line:#d8dee6;--good:#0a7d4f;--bad:#b3261e;--open:#7a5b00}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:var(--ink);max-width:68rem;margin:2rem auto;padding:0 1.25rem}
h1{font-size:1.7rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1rem 0 .25rem}
header p{color:var(--soft);margin:0}
.cards{display:flex;gap:1rem;margin-top:1.25rem;flex-wrap:wrap}
.card{flex:1 1 16rem;border:1px solid var(--line);border-left:5px solid var(--soft);border-radius:6px;padding:.75rem 1rem}
.card h2{margin:0;font-size:.85rem;color:var(--soft);font-weight:600}.card b{font-size:1.8rem}.card p{margin:0;color:var(--soft);font-size:.85rem}
.card.good{border-left-color:var(--good)}.card.bad{border-left-color:var(--bad)}.card.open{border-left-color:var(--open)}
dl{display:grid;grid-template-columns:9rem 1fr;gap:.15rem 1rem;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:2px solid var(--line);padding:.3rem .6rem .3rem 0}
td{border-bottom:1px solid var(--line);padding:.3rem .6rem .3rem 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{white-space:nowrap}
small{color:var(--soft)}
.state.good{color:var(--good);font-weight:600}.state.bad{color:var(--bad);font-weight:600}.state.open{color:var(--open)}
.way{display:block;width:10rem;height:.7rem;background:#eef1f5;border-radius:3px;margin-top:.35rem;overflow:hidden}
.way i{display:block;height:100%;min-width:2px;background:#3b6ea5;border-radius:3px}
pre{background:#f6f8fa;border:1px solid var(--line);border-radius:6px;padding:.75rem;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
code{font-size:.85em;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none;font-size:11px}.card,tr,pre,dl,li{break-inside:avoid}h2,h3{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
`;
