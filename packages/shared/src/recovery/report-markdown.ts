// A recovery report as Markdown. Hazard: programs' output and people's words are strangers' text: no cell ends a row, no line of an
// output ends its block. Pure. Tested in report.test.ts.

import type { EvidenceReport } from './report.ts';
import { leadOf, momentRows, momentText, objectiveText, pointText, spanText, titleOf, tookMs } from './report-words.ts';

/** @param fingerprint of the key that signed it; undefined: not signed yet, and the report says so */
export function reportMarkdown(report: EvidenceReport, fingerprint: string | undefined): string {
  const { plan, run, objectives } = report;
  return `${[
    `# ${titleOf(report)}`,
    leadOf(report),
    table(
      ['', ''],
      [
        ['Time to recovery (RTO)', objectiveText(objectives.rto)],
        ['Data lost (RPO)', objectiveText(objectives.rpo)],
        ['Recovery point', pointText(run)],
        ['Run', `${run.id}, ${run.mode}`],
        ['Started', `${momentText(run.startedAt)} by ${run.startedBy}`],
        ['Finished', momentText(run.finishedAt)],
        ['Epoch', String(run.epoch)],
        [
          'Plan',
          `${plan.name} (${report.domain}), revision ${plan.revision} of ${momentText(plan.appliedAt)} by ${plan.appliedBy}`,
        ],
        ['Plan owner', plan.owner],
      ],
    ),
    '## Time line',
    table(
      ['Moment', 'At', 'After'],
      momentRows(report).map(({ name, at, offsetMs }) => [name, momentText(at), `+${spanText(offsetMs)}`]),
    ),
    '## Steps',
    table(
      ['Step', 'Type', 'Host', 'State', 'Try', 'Started', 'Took', 'Said'],
      report.steps.map((step) => {
        const took = tookMs(step);
        const said = [step.message, step.remedy].filter((text) => text !== '').join(' → ');
        const when = [momentText(step.startedAt), took === undefined ? '–' : spanText(took)];
        return [step.id, step.type, step.host || 'controller', step.state, String(step.attempt), ...when, said];
      }),
    ),
    '## Decisions',
    report.decisions.length === 0
      ? 'Nobody had to decide anything.'
      : table(
          ['At', 'Who', 'Step', 'What'],
          report.decisions.map(({ at, actor, step, message }) => [momentText(at), actor, step, message]),
        ),
    ...outputs(report),
    '## Plan, as it was carried out',
    fenced(plan.document, 'yaml'),
    '## Signature',
    fingerprint === undefined
      ? 'Not signed: the run has not ended.'
      : `Signed with the key of fingerprint \`${fingerprint}\`. This text is for people: what is signed is the report as JSON.`,
  ].join('\n\n')}\n`;
}

function outputs({ steps }: EvidenceReport): string[] {
  const said = steps.filter(({ output }) => output !== '');
  if (said.length === 0) return [];
  return ['## Output', ...said.flatMap(({ id, output }) => [`### ${cell(id)}`, fenced(output, '')])];
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(titles), `|${'---|'.repeat(titles.length)}`, ...rows.map(line)].join('\n');
}

function cell(text: string): string {
  return text
    .replace(/[\\`*_[\]<>|#&~]/g, '\\$&')
    .replace(/\s+/g, ' ')
    .trim();
}

/** With a fence that is longer than any in the text. */
function fenced(text: string, language: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${text.trimEnd()}\n${fence}`;
}
