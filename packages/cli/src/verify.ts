// `holdfast verify`: read and check snapshots, write nothing.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { runJob } from './jobs/run-job.ts';
import { selectionOf, selectSnapshot } from './session/selection.ts';
import type { Session } from './session/session.ts';

interface VerifyOptions {
  readonly snapshot?: string;
  readonly at?: string;
  readonly all?: boolean;
  readonly on?: string;
  readonly host?: string;
  readonly restoreTest?: boolean;
}

export function define(program: Command, session: Session): void {
  program
    .command('verify')
    .description('read and check snapshots without writing anything')
    .argument('<source>', 'HOST/SOURCE for its newest snapshot, or a snapshot id')
    .option('--snapshot <id>', 'this snapshot (the beginning of its id)')
    .option('--at <time>', 'the newest snapshot at that time')
    .option('--all', 'every snapshot of the source')
    .option('--on <host>', 'the host that reads, instead of the source’s own')
    .option('--host <host>', 'the same as --on')
    .option('--restore-test', 'a database: bring it up in a scratch directory, ask it, and remove it')
    .addHelpText('after', HELP)
    .action(async (argument: string, options: VerifyOptions) => await verify(session, argument, options));
}

async function verify(session: Session, argument: string, options: VerifyOptions): Promise<void> {
  const selection = selectionOf(argument, options);
  if (options.all === true && (selection.typedId !== '' || options.at !== undefined)) {
    throw new HoldfastError('USAGE', '--all checks every snapshot of a source', {
      hint: 'Name the source as HOST/SOURCE, without --snapshot or --at.',
    });
  }
  if (options.all === true && options.restoreTest === true) {
    throw new HoldfastError('USAGE', '--restore-test brings up one point, not all', { hint: 'Leave out --all.' });
  }
  await runJob(session, {
    subject: { kind: 'verify', source: selection.source || argument },
    start: async () => {
      const operator = await session.operator();
      let { source, snapshotId } = selection;
      if (selection.typedId !== '') {
        const { snapshot } = await selectSnapshot(session, selection);
        source = snapshot.source;
        snapshotId = Buffer.from(snapshot.id);
      }
      return operator.startVerify({
        domain: await session.domain(),
        source,
        snapshotId,
        atMs: selection.atMs,
        all: options.all === true,
        onHost: options.on ?? options.host ?? '',
        restoreTest: options.restoreTest === true,
      });
    },
  });
}

const HELP = `
Every byte is fetched from the vault, decrypted and held against what the
snapshot says of it. Damage is named: which files, in which snapshot. The exit
code is 1 when a snapshot that was asked about lost something (with --all: any
of the source), and 3 when only others did that share its packs.

--all opens the newest snapshot, reads the stored bytes of every one, and says
a line about each.

--restore-test restores a database into a directory of the agent's own, starts
it on a private socket, replays its log, asks it what the source's
verify-query says, and removes it.

Examples:
  holdfast verify web-1/site
  holdfast verify web-1/db --restore-test --host web-2
  holdfast verify web-1/site --all --on web-2
`;
