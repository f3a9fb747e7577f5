// What a verb may touch of the process it runs in. main.ts builds the real one; tests build their own.
//
// Hazard: a command line that reads argv, the environment or the clock wherever it likes can be tested only as a process.
// So everything that makes a run unrepeatable comes in through here.

import type { Readable, Writable } from 'node:stream';

export interface Environment {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Size of the terminal in characters. */
  readonly columns: () => number;
  readonly rows: () => number;
  /** Where the logged-in context is kept. */
  readonly contextFile: string;
  /** These win over the context file. Paths of files, never the secrets themselves. */
  readonly address: string | undefined;
  readonly caFile: string | undefined;
  readonly tokenFile: string | undefined;
  /** Name of the local user: the default of `login --as`. */
  readonly user: string;
  /** Absolute path of a file named on the command line. */
  readonly resolvePath: (path: string) => string;
  readonly now: () => number;
  /** Calls `handler` at every SIGINT until the returned function is called. */
  readonly onInterrupt: (handler: () => void) => () => void;
}
