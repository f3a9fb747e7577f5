// `holdfast backup`: back up a source now and wait for the end.

import type { Command } from 'commander';
import { runJob } from './jobs/run-job.ts';
import { sourceName } from './session/selection.ts';
import type { Session } from './session/session.ts';

export function define(program: Command, session: Session): void {
  program
    .command('backup')
    .description('back up a source now')
    .argument('<source>', 'HOST/SOURCE')
    .option('--full-read', 'read every file again, whatever its metadata says')
    .addHelpText('after', HELP)
    .action(async (argument: string, options: { fullRead?: boolean }) => {
      const source = sourceName(argument);
      await runJob(session, {
        subject: { kind: 'backup', source },
        start: async () =>
          (await session.operator()).startBackup({
            domain: await session.domain(),
            source,
            fullRead: options.fullRead === true,
          }),
      });
    });
}

const HELP = `
Waits for the end and shows progress on a terminal. Ctrl-C cancels; a second Ctrl-C leaves without waiting.
Exits with 3 when the snapshot is there but something in it needs a look (a file changed while it was read, say).

Examples:
  holdfast backup web-1/site
  holdfast backup web-1/site --json | tail -n 1 | jq .bytesStored
`;
