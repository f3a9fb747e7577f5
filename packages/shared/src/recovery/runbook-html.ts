// A runbook as one HTML page to print: boxes to tick and room for the time of each step. Nothing is loaded, nothing runs.
//
// Pure. Tested in runbook.test.ts.

import { escapeHtml, STYLE } from './report-html.ts';
import { placeText } from './runbook-steps.ts';
import type { Chapter, Runbook, RunbookStep } from './runbook.ts';

export function runbookHtml({ title, facts, chapters }: Runbook): string {
  const rows = facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${STYLE}${OWN_STYLE}</style>
</head>
<body>
<header><h1>${escapeHtml(title)}</h1></header>
<section><dl>${rows.join('\n')}</dl></section>
${chapters.map(chapterHtml).join('\n')}
</body>
</html>
`;
}

function chapterHtml({ title, lead, steps }: Chapter): string {
  const paragraphs = lead.map((text) => `<p>${escapeHtml(text)}</p>`).join('');
  return `<section><h2>${escapeHtml(title)}</h2>${paragraphs}<ol class="steps">\n${steps.map(stepHtml).join('\n')}\n</ol></section>`;
}

function stepHtml({ title, host, text, blocks, check, onFailure }: RunbookStep): string {
  const typed = blocks.map(
    ({ where, lines }) =>
      `<p class="where">${escapeHtml(placeText(where))}</p><pre>${escapeHtml(lines.join('\n'))}</pre>`,
  );
  return `<li><h3><span class="tick"></span>${escapeHtml(title)}${host === '' ? '' : ` <small>${escapeHtml(host)}</small>`}<span class="clock">at</span></h3>
<p>${escapeHtml(text)}</p>${typed.join('')}${aside('Worked?', check)}${aside('If not:', onFailure)}</li>`;
}

function aside(name: string, text: string): string {
  return text === '' ? '' : `<p class="aside"><b>${escapeHtml(name)}</b> ${escapeHtml(text)}</p>`;
}

const OWN_STYLE = `
ol.steps{padding-left:1.5rem}ol.steps>li{margin:0 0 1.25rem;padding-left:.25rem}ol.steps h3{margin:0}ol.steps p{margin:.25rem 0}
.tick{display:inline-block;width:.9rem;height:.9rem;border:1.5px solid var(--ink);border-radius:2px;margin-right:.5rem;vertical-align:-.1rem}
.clock{float:right;color:var(--soft);font-weight:400;font-size:.85rem;border-bottom:1px solid var(--soft);width:6rem}
.where,.aside{font-size:.9rem}.where{color:var(--soft)}.aside b{color:var(--soft)}
`;
