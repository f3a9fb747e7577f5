// A runbook as Markdown: for a terminal, a wiki, or paper. Pure. Tested in runbook.test.ts.

import { placeText } from './runbook-steps.ts';
import type { Runbook, RunbookStep } from './runbook.ts';

export function runbookMarkdown({ title, facts, chapters }: Runbook): string {
  const parts = [`# ${title}`, facts.map(([name, value]) => `- **${name}**: ${value}`).join('\n')];
  for (const { title: heading, lead, steps } of chapters) {
    parts.push(`## ${heading}`, ...lead, ...steps.map((step, at) => stepText(step, at + 1)));
  }
  return `${parts.join('\n\n')}\n`;
}

function stepText(step: RunbookStep, number: number): string {
  const where = step.host === '' ? '' : ` on ${step.host}`;
  return [
    `### ☐ ${number}. ${step.title}${where}`,
    step.text,
    ...step.blocks.map((block) => `${placeText(block.where)}:\n\n${fenced(block.lines.join('\n'))}`),
    ...(step.check === '' ? [] : [`Worked? ${step.check}`]),
    ...(step.onFailure === '' ? [] : [`If not: ${step.onFailure}`]),
  ].join('\n\n');
}

function fenced(text: string): string {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), ([ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}sh\n${text}\n${fence}`;
}
