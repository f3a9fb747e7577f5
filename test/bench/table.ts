// The bench's table, as Markdown, so that it can stand in docs/benchmarks.md as it was printed.

import type { Cost } from './measure.ts';

export interface Row {
  readonly title: string;
  readonly contender: string;
  readonly cost: Cost;
  readonly storedBytes: number;
}

/** Whom the others are held against, each in its own work. */
const PEERS = new Set(['restic', 'pgbackrest', 'mariadb-backup']);

/** One line for each piece of work and contender; ratios are to the peer's line of the same work. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [
    '| work | who | wall s | CPU s | × wall | × CPU | peak MiB | stored after, MB |',
    '|---|---|---:|---:|---:|---:|---|---:|',
  ];
  for (const row of rows) {
    const peer = rows.find((other) => other.title === row.title && PEERS.has(other.contender));
    const ratio = (mine: number, theirs: number | undefined) =>
      theirs === undefined || PEERS.has(row.contender) ? '' : (mine / theirs).toFixed(2);
    const peaks = Object.entries(row.cost.peakMiB)
      .filter(([, mib]) => mib > 0)
      .map(([name, mib]) => `${name} ${Math.round(mib)}`)
      .join(', ');
    lines.push(
      `| ${row.title} | ${row.contender} | ${row.cost.wallSeconds.toFixed(2)} | ${row.cost.cpuSeconds.toFixed(2)} | ` +
        `${ratio(row.cost.wallSeconds, peer?.cost.wallSeconds)} | ${ratio(row.cost.cpuSeconds, peer?.cost.cpuSeconds)} | ` +
        `${peaks} | ${(row.storedBytes / 1e6).toFixed(1)} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}
