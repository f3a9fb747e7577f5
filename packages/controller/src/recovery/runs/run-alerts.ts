// Who is told that a run waits for people, or came to a bad end.
//
// Hazard: a run that waits for somebody who does not know. And one that is told at every restart: each has a key, of the run, its state and
// how often it changed.
//
// Tested in engine.db.test.ts and run-news.db.test.ts.

import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Notification, Notifier } from '../contract.ts';
import type { Advanced } from './advance.ts';
import { factsOfRun } from './effects.ts';
import type { RunState } from './run-states.ts';
import type { RunView } from './run-view.ts';
import { drillContacts } from './start-run.ts';

const TEMPLATES: Partial<Record<RunState, Notification['template']>> = {
  'awaiting-approval': 'approval',
  paused: 'paused',
  failed: 'failed',
  'clean-up-incomplete': 'failed',
  'split-brain-suspected': 'split-brain',
};

export interface AlertDeps {
  readonly notifier: Notifier;
  readonly log: (event: string, fields: LogFields) => void;
}

/** After a transition was written; a person's own pause is no news. */
export async function afterWriting(
  deps: AlertDeps,
  { run: before, plan, steps: stepsBefore }: RunView,
  { run, steps }: Pick<Advanced, 'run' | 'steps'>,
): Promise<void> {
  const reminds = run.state === 'awaiting-commit' && before.state === run.state && run.dueAt !== before.dueAt;
  const wasWaiting = new Set(stepsBefore.filter(({ state }) => state === 'waiting').map(({ id }) => id));
  const asks = steps.find(({ id, state, spec }) => state === 'waiting' && spec.type !== 'wait' && !wasWaiting.has(id));
  const isNew = run.state !== before.state;
  if (isNew) deps.log('run.state', { run: run.id, plan: run.planName, state: run.state, reason: run.reason });
  const waits = asks === undefined ? undefined : 'approval';
  const template = reminds ? 'failover' : isNew ? (TEMPLATES[run.state] ?? waits) : waits;
  if (template === undefined || run.pause === 'operator') return;
  const contacts = run.mode === 'drill' ? drillContacts(Object.keys(plan.contacts)) : 'everybody';
  if (contacts.length === 0) return;
  const words = asks?.spec.type === 'manual' ? { step: asks.id, reason: asks.spec.text } : { step: asks?.id ?? '' };
  const facts = { ...factsOfRun({ run, plan }), ...words };
  const key = `run/${run.id}/${asks?.id ?? ''}/${run.state}/${before.version + 1}`;
  await deps.notifier
    .notify({ planId: run.planId, runId: run.id, contacts, template, facts, key })
    .catch((error: unknown) => deps.log('run.alert-failed', { run: run.id, error }));
}
