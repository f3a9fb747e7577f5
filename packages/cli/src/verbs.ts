// The verbs of the command line: their names, one line of help each, and where they are. A verb's module is loaded only when
// its name stands in the arguments, so that a run pays for what it uses.

import type { Verb } from './verb.ts';

export const verbs: readonly Verb[] = [
  { name: 'login', summary: 'log in to a controller', load: () => import('./login.ts') },
  { name: 'context', summary: 'show and choose the controller to speak to', load: () => import('./context.ts') },
  { name: 'status', summary: 'what is protected, and what needs attention', load: () => import('./status.ts') },
  { name: 'host', summary: 'add, list, show and revoke hosts', load: () => import('./host.ts') },
  {
    name: 'source',
    summary: 'add, change, list, show and remove what is protected on a host',
    load: () => import('./source.ts'),
  },
  { name: 'backup', summary: 'back up a source now', load: () => import('./backup.ts') },
  { name: 'snapshot', summary: 'history, contents and differences', load: () => import('./snapshot.ts') },
  { name: 'restore', summary: 'bring a snapshot, or some paths of it, to a host', load: () => import('./restore.ts') },
  { name: 'verify', summary: 'read and check snapshots without writing anything', load: () => import('./verify.ts') },
  {
    name: 'blueprint',
    summary: 'what a server is, and what changed about it',
    load: () => import('./blueprint.ts'),
  },
  { name: 'plan', summary: 'recovery plans: check, apply, show and carry out', load: () => import('./plan.ts') },
  { name: 'run', summary: 'runs of recovery plans: watch, decide, prove', load: () => import('./run.ts') },
  {
    name: 'job',
    summary: 'list, watch and cancel backups, restores and verifications',
    load: () => import('./job.ts'),
  },
  { name: 'domain', summary: 'add and list domains, managed or sealed', load: () => import('./domain.ts') },
  { name: 'operator', summary: 'add and list operators, and set their roles', load: () => import('./operator.ts') },
  { name: 'token', summary: 'add and revoke API tokens', load: () => import('./token.ts') },
  { name: 'audit', summary: 'who changed what', load: () => import('./audit.ts') },
  { name: 'completion', summary: 'completion for bash and zsh', load: () => import('./completion.ts') },
];
