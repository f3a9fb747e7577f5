// What a restore found to do at its target: for a dry run what would be done, after a delta what was.
//
// Deletions and changes are what a person has to see before they happen, so the examples show them first. Pure.

import type { RestorePlan } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { pathFields, pathText, type PathFields } from '../words/names.ts';
import { counted, formatCount, formatSize } from '../words/sizes.ts';

export interface PlanFields {
  /** Nothing of it was done. */
  readonly dryRun: boolean;
  /** Entries of every type. */
  readonly created: number;
  readonly changed: number;
  readonly metadata: number;
  readonly unchanged: number;
  readonly deleted: number;
  /** Of the regular files that are created or changed. */
  readonly bytesWritten: number;
  readonly bytesUnchanged: number;
  readonly bytesFetched: number;
  /** The first of them. `action`: create | change | metadata | delete */
  readonly examples: readonly (PathFields & { readonly action: string })[];
}

export function planFields(plan: RestorePlan): PlanFields {
  return {
    dryRun: plan.dryRun,
    created: Number(plan.created),
    changed: Number(plan.changed),
    metadata: Number(plan.metadata),
    unchanged: Number(plan.unchanged),
    deleted: Number(plan.deleted),
    bytesWritten: Number(plan.bytesWritten),
    bytesUnchanged: Number(plan.bytesUnchanged),
    bytesFetched: Number(plan.bytesFetched),
    examples: plan.examples.map(({ action, path }) => ({ action, ...pathFields(path) })),
  };
}

const SHOWN_EXAMPLES = 20;
/** As in `snapshot diff`, in the order in which they matter to somebody who is about to say yes. */
const LETTERS: ReadonlyMap<string, string> = new Map([
  ['delete', '-'],
  ['change', 'M'],
  ['create', '+'],
  ['metadata', 'm'],
]);

/** Lines without indentation: the figures, and for a dry run the first paths. */
export function planLines(plan: RestorePlan): string[] {
  const bytes = formatSize(Number(plan.bytesWritten));
  const figures = [
    `${counted(Number(plan.created), 'entry', 'entries')} new`,
    `${formatCount(Number(plan.changed))} changed (${plan.dryRun ? `${bytes} to write` : `${bytes} written`})`,
    ...(plan.metadata > 0n ? [`${formatCount(Number(plan.metadata))} with other metadata alone`] : []),
    ...(plan.deleted > 0n ? [`${formatCount(Number(plan.deleted))} ${plan.dryRun ? 'to delete' : 'deleted'}`] : []),
    `${formatCount(Number(plan.unchanged))} left alone`,
  ];
  if (!plan.dryRun) return [figures.join(', ')];
  const lines = [figures.join(', '), `${formatSize(Number(plan.bytesFetched))} to fetch from the vault`];
  const order = [...LETTERS.keys()];
  const examples = plan.examples.toSorted((a, b) => order.indexOf(a.action) - order.indexOf(b.action));
  const shown = examples.slice(0, SHOWN_EXAMPLES);
  for (const { action, path } of shown) lines.push(`  ${LETTERS.get(action) ?? '?'}  ${pathText(path)}`);
  const all = Number(plan.created + plan.changed + plan.metadata + plan.deleted);
  if (all > shown.length) lines.push(`  … and ${formatCount(all - shown.length)} more`);
  return lines;
}
