// A fleet with room beside it for sources and targets: what the end-to-end and the fault tests stand on. Everything goes
// through the built programs, as separate processes over mTLS, and is asked through the command line, as a user would.
//
// Hazard: what a test leaves behind, processes above all, spoils the next one. So a lab is closed in `after`, whatever became of
// its tests, and its directory is removed by descriptors, because trees in it may be deeper than PATH_MAX or immutable.

import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fromText } from '@holdfast/shared/base/byte-string';
import { RestoreTarget } from '@holdfast/agent/restore/target/restore-target';
import type { SummaryEvent } from '@holdfast/cli/jobs/summary';
import { builtPrograms } from '../fleet/built.ts';
import { fleetDown, fleetUp, holdfast, type CliResult, type Fleet } from '../fleet/fleet.ts';
import { layoutOf, type FleetLayout } from '../fleet/layout.ts';

export interface JobResult {
  readonly code: number;
  readonly summary: SummaryEvent;
}

/** A line of `--json`: what it is, and its figures. */
export interface JobEvent {
  readonly event: string;
  readonly [name: string]: unknown;
}

export interface RunningJob {
  /** What has been said so far; grows. */
  readonly events: readonly JobEvent[];
  readonly ended: Promise<JobResult>;
}

/** Of `snapshot ls --json`. */
export interface ListedSnapshot {
  readonly id: string;
  readonly sequence: number;
  readonly committedAt: string;
  readonly files: number;
  readonly bytesNew: number;
  readonly partial: boolean;
  readonly damaged: boolean;
  readonly warnings: number;
}

export class Lab {
  /** Holds the fleet and whatever a test puts beside it. */
  readonly dir: string;
  readonly fleetDir: string;
  readonly layout: FleetLayout;

  private constructor(dir: string) {
    this.dir = dir;
    this.fleetDir = join(dir, 'fleet');
    this.layout = layoutOf(this.fleetDir);
  }

  /** A new directory, with no fleet yet. */
  static make(): Lab {
    const dir = mkdtempSync(join(realpathSync(tmpdir()), 'holdfast-lab-'));
    // Under root PostgreSQL runs as another user, and passes through.
    chmodSync(dir, 0o711);
    return new Lab(dir);
  }

  static async open(hosts: readonly string[]): Promise<Lab> {
    const lab = Lab.make();
    await lab.up(hosts);
    return lab;
  }

  async up(hosts: readonly string[]): Promise<Fleet> {
    return await fleetUp({ dir: this.fleetDir, hosts });
  }

  async close(): Promise<void> {
    await fleetDown(this.fleetDir).catch(() => []);
    const above = realpathSync(tmpdir());
    const target = RestoreTarget.open(fromText(above), { into: 'merge', onWarning: () => undefined });
    target.remove(fromText(this.dir.slice(above.length + 1)));
    target.close();
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** An empty directory in the lab. */
  directory(name: string): string {
    mkdirSync(this.path(name), { recursive: true });
    return this.path(name);
  }

  async cli(...args: readonly string[]): Promise<CliResult> {
    return await holdfast(this.fleetDir, args);
  }

  /** The standard output of a command that must succeed. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cli(...args);
    if (code !== 0) throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
    return stdout;
  }

  /** A source `site` of `host` on a directory of this name in the lab. */
  async addSource(host: string, name: string, path: string): Promise<void> {
    await this.ok('source', 'add', name, '--host', host, '--type', 'files', '--path', path);
  }

  startJob(...args: readonly string[]): RunningJob {
    const { node, cli } = builtPrograms();
    const env = { PATH: process.env['PATH'], TZ: process.env['TZ'], HOLDFAST_CONTEXT: this.layout.contextFile };
    const child = spawn(node, [cli, ...args, '--json'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const events: JobEvent[] = [];
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
    const reading = (async () => {
      for await (const line of createInterface({ input: child.stdout })) events.push(JSON.parse(line) as JobEvent);
    })();
    const closed = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
    const ended = (async () => {
      const code = await closed;
      await reading;
      const last = events.at(-1);
      if (last?.event !== 'summary') throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${said}`);
      return { code: code ?? -1, summary: last as unknown as SummaryEvent };
    })();
    ended.catch(() => undefined); // whoever awaits it hears of it
    return { events, ended };
  }

  /** A backup, restore or verify to its end, whatever that is. */
  async job(...args: readonly string[]): Promise<JobResult> {
    return await this.startJob(...args).ended;
  }

  /** One that must succeed without a warning. */
  async done(...args: readonly string[]): Promise<SummaryEvent> {
    const { code, summary } = await this.job(...args);
    if (code === 0) return summary;
    const { error, warnings } = summary;
    throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${JSON.stringify({ error, warnings })}`);
  }

  /** Newest first. */
  async snapshots(source: string): Promise<ListedSnapshot[]> {
    const listed = JSON.parse(await this.ok('snapshot', 'ls', source, '--json')) as { snapshots: ListedSnapshot[] };
    return listed.snapshots;
  }
}
