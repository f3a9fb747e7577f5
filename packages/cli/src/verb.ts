// What a verb of the command line is to those who list, load and describe it.

import type { Command } from 'commander';
import type { Session } from './session/session.ts';

export interface VerbModule {
  /** Adds the verb with its arguments, options and help to the program. `verbs`: all there are, for the one that completes them. */
  readonly define: (program: Command, session: Session, verbs: readonly Verb[]) => void;
}

export interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<VerbModule>;
}
