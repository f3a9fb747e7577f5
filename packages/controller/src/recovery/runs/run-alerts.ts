// Who is told that a run waits for people, or came to a bad end.
//
// Hazard: a run that waits for somebody who does not know. And one that is told at every restart: each has a key, of the run, its state and
// how often it changed.

import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Notification, Notifier } from '../contract.ts';
import { factsOfRun } from './effects.ts';
import type { RunState } from './run-states.ts';
import type { RunRow, RunView } from './run-view.ts';
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
export async function afterWriting(deps: AlertDeps, { run: before, plan }: RunView, run: RunRow): Promise<void> {
  const reminds = run.state === 'awaiting-commit' && before.state === run.state && run.dueAt !== before.dueAt;
  if (run.state === before.state && !reminds) return;
  deps.log('run.state', { run: run.id, plan: run.planName, state: run.state, reason: run.reason });
  const template = reminds ? 'failover' : TEMPLATES[run.state];
  if (template === undefined || run.pause === 'operator') return;
  const names = Object.keys(plan.contacts);
  const contacts = run.mode === 'drill' ? drillContacts(names) : [plan.metadata.owner, ...names];
  if (contacts.length === 0) return;
  const facts = factsOfRun({ run, plan });
  const key = `run/${run.id}/${run.state}/${before.version + 1}`;
  await deps.notifier
    .notify({ planId: run.planId, runId: run.id, contacts, template, facts, key })
    .catch((error: unknown) => deps.log('run.alert-failed', { run: run.id, error }));
}
