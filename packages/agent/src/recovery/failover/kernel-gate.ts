// The gate in the kernel: an application's TCP ports pass, both ways, only by a set whose elements time out, whether or not any process runs.
//
// Hazard: an agent that is dead, stopped or slow can't close anything. So what closes is a timeout that was put there before the lease was
// even asked for; the agent only switches from one set to the next.
//
// Invariants (kernel-gate.test.ts, in a network namespace): KG1 a staged set lets nothing pass by itself; KG2 an open slot ends at its own
// timeout with every process stopped; KG3 a switch is one transaction of the kernel; KG4 a new table lets everything pass until it is told.
//
// One nft process for each change: some 5 ms. Tables of other programs are not touched.

import { execFile } from 'node:child_process';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { toolPath } from '../steps/tool-path.ts';

export interface KernelGate {
  /** There is a table of this application already: an agent of this boot made it. */
  exists(): Promise<boolean>;
  /** A set of its own with this timeout, beside what is in force. */
  stage(slot: number, forMs: number): Promise<void>;
  /** Lets the ports pass by this slot's set alone. */
  open(slot: number | 'standing'): Promise<void>;
  close(): Promise<void>;
  /** Takes the table away: everything passes. */
  remove(): Promise<void>;
}

/** Sets that are kept behind the newest: their requests may still be answered. */
const KEPT_SLOTS = 16;
const NFT_WITHIN_MS = 10_000;

export function openKernelGate(application: string, ports: readonly number[]): KernelGate {
  return new NftGate(`holdfast_${application.replaceAll('-', '_')}`, ports);
}

/** Throws FAILED_PRECONDITION in words when the kernel can't be told here. */
export async function probeKernelGate(): Promise<void> {
  const table = `holdfast_probe_${process.pid}`;
  await nft(`add table inet ${table}\ndelete table inet ${table}\n`);
}

class NftGate implements KernelGate {
  readonly #table: string;
  readonly #ports: readonly number[];
  #slots: number[] | undefined;
  #open: number | undefined;

  constructor(table: string, ports: readonly number[]) {
    this.#table = `inet ${table}`;
    this.#ports = ports;
  }

  async exists(): Promise<boolean> {
    return (await this.#list()) !== undefined;
  }

  async stage(slot: number, forMs: number): Promise<void> {
    const slots = await this.#known();
    const timeout = timeText(forMs);
    const elements = this.#ports.map((port) => `${port} timeout ${timeout}`).join(', ');
    const old = slots.filter((known) => known <= slot - KEPT_SLOTS && known !== this.#open);
    await this.#change([
      ...this.#base(),
      `add set ${this.#table} slot_${slot} { type inet_service; flags timeout; }`,
      ...(elements === '' ? [] : [`add element ${this.#table} slot_${slot} { ${elements} }`]),
      ...old.map((known) => `delete set ${this.#table} slot_${known}`),
    ]);
    this.#slots = [...slots.filter((known) => !old.includes(known)), slot];
  }

  async open(slot: number | 'standing'): Promise<void> {
    await this.#known();
    if (slot === 'standing') await this.#switch('accept', 'accept');
    else await this.#switch(`tcp dport @slot_${slot} accept`, `tcp sport @slot_${slot} accept`, 'drop');
    this.#open = slot === 'standing' ? undefined : slot;
  }

  async close(): Promise<void> {
    await this.#known();
    await this.#switch('drop', 'drop');
    this.#open = undefined;
  }

  async remove(): Promise<void> {
    await nft(`add table ${this.#table}\ndelete table ${this.#table}\n`);
    this.#slots = [];
    this.#open = undefined;
  }

  /** KG3: one batch, which the kernel takes as a whole. */
  async #switch(arriving: string, leaving: string, otherwise?: string): Promise<void> {
    const lines = [...this.#base()];
    for (const [chain, rule] of [
      ['gate_in', arriving],
      ['gate_out', leaving],
    ] as const) {
      lines.push(`flush chain ${this.#table} ${chain}`, `add rule ${this.#table} ${chain} ${rule}`);
      if (otherwise !== undefined) lines.push(`add rule ${this.#table} ${chain} ${otherwise}`);
    }
    await this.#change(lines);
  }

  /** What is there stays as it is; the hooks are written anew, with the ports of now. */
  #base(): string[] {
    const table = this.#table;
    const ports = this.#ports.join(', ');
    return [
      `add table ${table}`,
      `add chain ${table} gate_in`,
      `add chain ${table} gate_out`,
      `add chain ${table} arriving { type filter hook input priority -150; policy accept; }`,
      `add chain ${table} leaving { type filter hook output priority -150; policy accept; }`,
      `flush chain ${table} arriving`,
      `flush chain ${table} leaving`,
      ...(ports === ''
        ? []
        : [
            `add rule ${table} arriving tcp dport { ${ports} } goto gate_in`,
            `add rule ${table} leaving tcp sport { ${ports} } goto gate_out`,
          ]),
    ];
  }

  async #known(): Promise<number[]> {
    if (this.#slots !== undefined) return this.#slots;
    const text = (await this.#list()) ?? '';
    this.#slots = [...text.matchAll(/set slot_(\d+) \{/g)].map((found) => Number(found[1]));
    const open = /dport @slot_(\d+) accept/.exec(text)?.[1];
    this.#open = open === undefined ? undefined : Number(open);
    return this.#slots;
  }

  /** Another program may have flushed the rules: what is there is looked up anew before the next change. */
  async #change(lines: readonly string[]): Promise<void> {
    try {
      await nft(lines.join('\n'));
    } catch (error) {
      this.#slots = undefined;
      throw error;
    }
  }

  async #list(): Promise<string | undefined> {
    try {
      return await nft(`list table ${this.#table}\n`);
    } catch (error) {
      if (error instanceof HoldfastError && /No such file or directory/.test(error.message)) return undefined;
      throw error;
    }
  }
}

function timeText(ms: number): string {
  const whole = Math.max(1, Math.floor(ms));
  return `${Math.floor(whole / 1000)}s${whole % 1000}ms`;
}

/** Runs one batch, as a whole or not at all. Throws FAILED_PRECONDITION with what nft said. */
function nft(batch: string): Promise<string> {
  const program = toolPath('nft', 'Install it: apt-get install nftables');
  return new Promise((resolve, reject) => {
    const child = execFile(program, ['-f', '-'], { timeout: NFT_WITHIN_MS, env: {} }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new HoldfastError('FAILED_PRECONDITION', `nft: ${(stderr || error.message).trim().slice(0, 500)}`, {
            cause: error,
          }),
        );
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(batch);
  });
}
