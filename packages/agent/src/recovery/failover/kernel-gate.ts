// The gate in the kernel: an application's ports pass, both ways, only by a set whose elements time out, whether or not any process runs.
//
// Hazards: an agent that is dead, stopped or slow can't close anything. So what closes is a timeout that was put there before the lease was
// even asked for; the agent only switches from one set to the next. A way around it is a second primary. So it is one table for IPv4 and
// IPv6 (`inet`), for TCP, UDP and SCTP, for each packet (connections that stand are no exception), on every address of the host; and it
// looks twice: at what ends in this host, by the port that a process has, and at what its NAT hands on to a container or another port, by the
// port that was asked for: before the address is changed, and after it was changed back.
//
// Invariants (kernel-gate.test.ts, kernel-gate-ways.test.ts, in network namespaces): KG1 a staged set lets nothing pass by itself; KG2 an open
// slot ends at its own timeout with every process stopped; KG3 a switch is one transaction of the kernel; KG4 a new table lets everything pass
// until it is told; KG5 what is shut is shut for both families and transports, loopback, connections that stand, and NAT.
//
// One nft process for each change: some 5 ms. Tables of other programs are not touched, and traffic to other hosts is let through.

import { execFile } from 'node:child_process';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { readServiceAddress } from '@holdfast/shared/recovery/service-address';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
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

/** What is gated: these ports, on this host's addresses and on those that come and go. */
export type Gated = Pick<ApplicationSpec, 'ports' | 'addresses'>;

export function openKernelGate(application: string, gated: Gated): KernelGate {
  return new NftGate(`holdfast_${application.replaceAll('-', '_')}`, gated);
}

/** Throws FAILED_PRECONDITION in words when the kernel can't be told here. */
export async function probeKernelGate(): Promise<void> {
  const table = `holdfast_probe_${process.pid}`;
  const base = hooks(`inet ${table}`, { ports: [1], addresses: [] });
  await nft([...base, `delete table inet ${table}`].join('\n'));
}

class NftGate implements KernelGate {
  readonly #table: string;
  readonly #gated: Gated;
  #slots: number[] | undefined;
  #open: number | undefined;

  constructor(table: string, gated: Gated) {
    this.#table = `inet ${table}`;
    this.#gated = gated;
  }

  async exists(): Promise<boolean> {
    return (await this.#list()) !== undefined;
  }

  async stage(slot: number, forMs: number): Promise<void> {
    const slots = await this.#known();
    const timeout = timeText(forMs);
    const elements = this.#gated.ports.map((port) => `${port} timeout ${timeout}`).join(', ');
    const old = slots.filter((known) => known <= slot - KEPT_SLOTS && known !== this.#open);
    await this.#change([
      ...hooks(this.#table, this.#gated),
      `add set ${this.#table} slot_${slot} { type inet_service; flags timeout; }`,
      ...(elements === '' ? [] : [`add element ${this.#table} slot_${slot} { ${elements} }`]),
      ...old.map((known) => `delete set ${this.#table} slot_${known}`),
    ]);
    this.#slots = [...slots.filter((known) => !old.includes(known)), slot];
  }

  async open(slot: number | 'standing'): Promise<void> {
    await this.#known();
    if (slot === 'standing') await this.#switch('accept', 'accept');
    else await this.#switch(`th dport @slot_${slot} accept`, `th sport @slot_${slot} accept`, 'drop');
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
    const lines = hooks(this.#table, this.#gated);
    for (const [chain, rule] of [
      ['gate_in', arriving],
      ['gate_out', leaving],
    ] as const) {
      lines.push(`flush chain ${this.#table} ${chain}`, `add rule ${this.#table} ${chain} ${rule}`);
      if (otherwise !== undefined) lines.push(`add rule ${this.#table} ${chain} ${otherwise}`);
    }
    await this.#change(lines);
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

/** Where packets are looked at: name, hook, priority. NAT changes addresses at −100, and changes them back at 100. */
const CHAINS = [
  ['arriving', 'input', -150],
  ['leaving', 'output', -150],
  ['before_nat', 'prerouting', -150],
  ['after_nat', 'postrouting', 150],
  ['heard_back', 'input', 150],
] as const;

/** What is there stays as it is; the hooks are written anew, with the ports and addresses of now. */
function hooks(table: string, { ports, addresses }: Gated): string[] {
  const lines = [`add table ${table}`, `add chain ${table} gate_in`, `add chain ${table} gate_out`];
  for (const [chain, hook, priority] of CHAINS) {
    const type = `{ type filter hook ${hook} priority ${priority}; policy accept; }`;
    lines.push(`add chain ${table} ${chain} ${type}`, `flush chain ${table} ${chain}`);
  }
  if (ports.length === 0) return lines;
  const transport = 'meta l4proto { tcp, udp, sctp }';
  const to = `${transport} th dport { ${ports.join(', ')} }`;
  const from = `${transport} th sport { ${ports.join(', ')} }`;
  const rule = (chain: (typeof CHAINS)[number][0], match: string, gate: 'gate_in' | 'gate_out'): void =>
    void lines.push(`add rule ${table} ${chain} ${match} goto ${gate}`);
  rule('arriving', to, 'gate_in');
  rule('leaving', from, 'gate_out');
  rule('leaving', `${to} fib daddr type local`, 'gate_in');
  rule('heard_back', `${from} fib saddr type local`, 'gate_out');
  // A service address may have left the host while its neighbours still send to it. What this host itself asks of the service elsewhere passes.
  for (const own of ['fib daddr type local', ...carried(addresses, 'daddr')])
    rule('before_nat', `${to} ${own}`, 'gate_in');
  for (const own of ['fib saddr type local', ...carried(addresses, 'saddr')])
    rule('after_nat', `${from} ${own}`, 'gate_out');
  return lines;
}

function carried(addresses: Gated['addresses'], side: 'daddr' | 'saddr'): string[] {
  return addresses.flatMap((address) => {
    const read = readServiceAddress(address.ip);
    return typeof read === 'string' ? [] : [`${read.family === 4 ? 'ip' : 'ip6'} ${side} ${read.ip}`];
  });
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
