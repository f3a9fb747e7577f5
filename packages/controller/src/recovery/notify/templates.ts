// What a message says: one function for each word of contract.ts, from facts to a subject and plain text.
//
// Hazard: it is read at three in the morning on a telephone. So the subject says what happened to which plan, the first line what it
// means, and the last one what to do. A fact that is missing leaves its words out; one that no template knows is shown all the same.
//
// An empty fact counts as missing. Facts that templates use: plan, run, mode, from, to, step, reason, remedy, rto, rpo, promised-rto, promised-rpo, subject, address,
// drill-due. All are text for people.
//
// Pure. Tested in templates.test.ts.

import type { Notification } from '../contract.ts';

export interface Words {
  readonly subject: string;
  /** Plain text, LF, ends with one. */
  readonly text: string;
}

export type Facts = Readonly<Record<string, string>>;

interface Told {
  /** After "shop: ". */
  readonly what: string;
  readonly meaning: string;
  readonly next: string;
}

type Template = (facts: Facts) => Told;

const templates = {
  failover: (facts) => ({
    what: facts['to'] === undefined ? 'failover' : `${facts['to']} serves now`,
    meaning: join([
      facts['to'] === undefined ? 'The application was failed over.' : `The application runs on ${facts['to']}`,
      facts['from'] === undefined ? '' : `, and no longer on ${facts['from']}`,
      facts['to'] === undefined ? '' : '.',
      facts['rto'] === undefined ? '' : ` It was away for ${facts['rto']}.`,
      facts['rpo'] === undefined ? '' : ` What is newer than ${facts['rpo']} before that may be lost.`,
    ]),
    next: `Look whether all is well, then make it final: ${command(facts, 'commit')}`,
  }),
  drill: (facts) => ({
    what: `drill ${facts['state'] ?? 'ended'}`,
    meaning: `A drill of the plan ${facts['state'] === undefined ? 'ended' : `ended: ${facts['state']}`}.`,
    next: `Its report: ${command(facts, 'report')}`,
  }),
  approval: (facts) => ({
    what: 'waits for an approval',
    meaning: `${facts['mode'] === undefined ? 'A run' : `A run (${facts['mode']})`} can't go on before somebody approves it.`,
    next: `Approve it, or end it: ${command(facts, 'approve')}`,
  }),
  paused: (facts) => ({
    what: `paused${facts['step'] === undefined ? '' : ` at ${facts['step']}`}`,
    meaning: 'A run has stopped, and waits for a decision.',
    next:
      facts['step'] === undefined
        ? `What it waits for: ${command(facts, 'show')}; then retry, skip, resume or abort it`
        : `Mend what is wrong, then: ${command(facts, 'retry', facts['step'])}`,
  }),
  failed: (facts) => ({
    what: 'a run failed',
    meaning: 'The application may be down, or without a standby.',
    next: `What happened: ${command(facts, 'show')}`,
  }),
  unready: (facts) => ({
    what: 'the plan is not ready',
    meaning: 'If its primary died now, the plan could not be carried out as it stands.',
    next: `All that is wrong, and what to do: holdfast plan show ${facts['plan'] ?? 'NAME'}`,
  }),
  'overdue-drill': (facts) => ({
    what: 'a drill is overdue',
    meaning: 'Nobody has shown for too long that this plan works.',
    next: `Run one: holdfast plan run ${facts['plan'] ?? 'NAME'} --mode drill`,
  }),
  'mass-change': (facts) => ({
    what: `${facts['source'] ?? 'a source'} changed as a whole`,
    meaning: 'It may have been encrypted or destroyed. Snapshots from before are kept as they are.',
    next: `Look at it. If it was an attack: holdfast plan run ${facts['plan'] ?? 'NAME'} --mode unplanned --latest-clean`,
  }),
  'primary-dead': (facts) => ({
    what: 'its primary is dead',
    meaning: 'Nothing takes over by itself: the plan asks for a person.',
    next: `Switch it over: ${facts['remedy'] ?? `holdfast plan run ${facts['plan'] ?? 'NAME'} --mode unplanned`}`,
  }),
  'objective-breached': (facts) => ({
    what: `${facts['objective'] ?? 'an objective'} is missed`,
    meaning: 'A failover would take longer, or lose more, than was promised.',
    next: `Why: holdfast plan show ${facts['plan'] ?? 'NAME'}`,
  }),
  undelivered: (facts) => ({
    what: `a message did not reach ${facts['address'] ?? 'somebody'}`,
    meaning: 'Somebody who should know what the message below says does not know it.',
    next: 'Tell them, and mend the contact in the plan or in the settings of the controller.',
  }),
  'split-brain': (facts) => ({
    what: 'two hosts claim to serve',
    meaning: 'Both hosts say that they serve, and that can not be. Everything about this plan is frozen.',
    next: `Stop the application on one of them by hand, then: holdfast plan show ${facts['plan'] ?? 'NAME'}`,
  }),
} as const satisfies Record<string, Template>;

const SUBJECT_MAX = 150;
const FACT_MAX = 2000;

/** A template that nobody knows (a plan's own word) shows its facts. */
export function wordsOf({ template, facts: given }: Pick<Notification, 'template' | 'facts'>): Words {
  const facts = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
  const known: Record<string, Template> = templates;
  const own = Object.hasOwn(known, template) ? known[template] : undefined;
  const told = own?.(facts) ?? { what: template, meaning: '', next: '' };
  const plan = facts['plan'] === undefined ? 'Holdfast' : `Holdfast: ${facts['plan']}`;
  const list = Object.entries(facts).map(([name, value]) => `${`${name}:`.padEnd(14)} ${value.slice(0, FACT_MAX)}`);
  const parts = [told.meaning, list.join('\n'), told.next].filter((part) => part !== '');
  return { subject: oneLine(`${plan}: ${told.what}`), text: `${parts.join('\n\n')}\n` };
}

function command(facts: Facts, action: string, step?: string): string {
  return ['holdfast run', action, facts['run'] ?? 'ID', ...(step === undefined ? [] : [step])].join(' ');
}

function join(parts: readonly string[]): string {
  return parts.join('');
}

/** A line break in a subject would be a header of its own. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ').slice(0, SUBJECT_MAX);
}
