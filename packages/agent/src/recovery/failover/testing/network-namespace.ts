// A network namespace of a test's own: its own devices, addresses and nftables, gone with the process that holds it.
//
// Hazard: a test that changes the machine's own firewall or addresses. So whatever needs them runs below `nsenter`, or on this thread while
// it is inside (`within`): sockets and programs that it starts are the namespace's then.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';

const CLONE_NEWNET = 0x40000000;
const setns: (fd: number, type: number) => number = koffi.load(null).func('setns', 'int', ['int', 'int']);

export interface NetworkNamespace {
  /** Of the process that holds it. */
  readonly pid: number;
  /** Runs a program in it, to its end; what it said. */
  run(...command: string[]): string;
  /** argv that runs a program in it. */
  enter(...command: string[]): string[];
  /** This thread is inside until the work is done. One at a time. */
  within<T>(work: () => Promise<T>): Promise<T>;
  close(): void;
}

/** Why there can be none here; undefined: there can. Throws with HOLDFAST_CI=1, where there must. */
export function noNamespaces(): string | undefined {
  try {
    execFileSync('unshare', ['-n', 'nft', 'list', 'ruleset'], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    const why = `needs root, unshare, ip and nft: ${String(error).split('\n')[0]}`;
    if (process.env['HOLDFAST_CI'] === '1') throw new Error(why, { cause: error });
    return why;
  }
}

export async function openNamespace(): Promise<NetworkNamespace> {
  const holder = spawn('unshare', ['-n', 'sleep', 'infinity'], { stdio: 'ignore' });
  const { pid = 0 } = holder;
  await inside(holder, pid);
  const enter = (...command: string[]): string[] => ['nsenter', '-t', String(pid), '-n', ...command];
  const run = (...command: string[]): string => {
    const [program = '', ...words] = enter(...command);
    return execFileSync(program, words, { encoding: 'utf8' });
  };
  run('ip', 'link', 'set', 'lo', 'up');
  return {
    pid,
    run,
    enter,
    async within(work) {
      const own = openSync('/proc/self/ns/net', 'r');
      const other = openSync(`/proc/${pid}/ns/net`, 'r');
      try {
        if (setns(other, CLONE_NEWNET) !== 0) throw new Error('setns');
        return await work();
      } finally {
        setns(own, CLONE_NEWNET);
        closeSync(own);
        closeSync(other);
      }
    },
    close: () => void holder.kill('SIGKILL'),
  };
}

/** A link between two namespaces. */
export function joinNamespaces(
  first: { readonly namespace: NetworkNamespace; readonly device: string; readonly address: string },
  second: { readonly namespace: NetworkNamespace; readonly device: string; readonly address: string },
): void {
  const { pid } = second.namespace;
  first.namespace.run(
    'ip',
    'link',
    'add',
    first.device,
    'type',
    'veth',
    'peer',
    'name',
    second.device,
    'netns',
    String(pid),
  );
  for (const { namespace, device, address } of [first, second]) {
    if (address !== '') namespace.run('ip', 'address', 'add', address, 'dev', device);
    namespace.run('ip', 'link', 'set', device, 'up');
  }
}

async function inside(holder: ChildProcess, pid: number): Promise<void> {
  const own = readlinkSync('/proc/self/ns/net');
  for (let tries = 0; tries < 500; tries++) {
    if (holder.exitCode !== null) throw new Error('unshare ended');
    try {
      if (readlinkSync(`/proc/${pid}/ns/net`) !== own) return;
    } catch {
      // It has not begun yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('unshare made no namespace');
}
