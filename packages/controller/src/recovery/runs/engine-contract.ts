// What the engine is to those that it asks, and that tell it news.

import type { Decision, RunView } from './run-view.ts';

export interface Engine {
  /** Looks at the run now. Resolves when nothing is due any more at this replica. */
  pump(runId: string): Promise<void>;
  /** This replica drives the plan's runs from now on. */
  drive(planId: string, term: number): Promise<void>;
  lose(planId: string): void;
  termOf(planId: string): number | undefined;
  /** Writes what is decided on the newest view; decided anew when that was old. */
  apply(runId: string, decideOn: (view: RunView) => readonly Decision[]): Promise<boolean>;
  /** Ends timers, and waits for what is being written. */
  stop(): Promise<void>;
}
