// `holdfast audit`: who changed what. The rows are chained by hash, so that a missing one shows.

import type { Command } from 'commander';
import type { Session } from './session/session.ts';
import { idText } from './words/names.ts';
import { formatTable } from './words/tables.ts';
import { formatTime, isoTime, withoutSeconds } from './words/times.ts';

export function define(program: Command, session: Session): void {
  program
    .command('audit')
    .description('who changed what')
    .option('--limit <count>', 'how many of the newest', '100')
    .addHelpText('after', '\nExamples:\n  holdfast audit --limit 20\n')
    .action(async (options: { limit: string }) => {
      const limit = Math.max(1, Math.trunc(Number(options.limit)) || 1);
      const { entries } = await (await session.operator()).listAudit({ domain: await session.domain(), limit });
      if (session.json) {
        const rows = entries.map(({ sequence, atMs, actor, action, subject, hash }) => {
          return { sequence: Number(sequence), at: isoTime(Number(atMs)), actor, action, subject, hash: idText(hash) };
        });
        return await session.document({ entries: rows });
      }
      const rows = entries.map(({ sequence, atMs, actor, action, subject }) => {
        return [sequence.toString(), formatTime(Number(atMs)), actor, action, subject];
      });
      await session.write(
        formatTable(
          [
            { title: 'NO' },
            { title: 'AT', brief: withoutSeconds },
            { title: 'WHO', cutTo: 14 },
            { title: 'DID' },
            { title: 'TO', cutTo: 14 },
          ],
          rows,
          session.width,
        ),
      );
    });
}
